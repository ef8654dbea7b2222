"""HTTP and WebSocket handlers by noun. Handlers decode, call the layers below and encode; nothing else lives here.

Every handler declares who may call it (`guard.requires`, `guard.public`, `guard.admits_websocket`); errors leave
as problem documents (`problems`).
"""
