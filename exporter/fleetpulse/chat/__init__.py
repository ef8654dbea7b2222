"""The chat service: identified connections, sessions, routing to users and sessions, mailboxes."""
