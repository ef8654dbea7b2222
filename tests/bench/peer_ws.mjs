// A peer for live_scale.py: heartbeats in over Node's http, out to rooms with the `ws` package.
// It validates nothing and keeps nothing. Prints its port twice, and serves until its standard input ends.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { WebSocketServer, WebSocket } = createRequire(`${process.argv[2]}/`)("ws");
const rooms = new Map();
const roomOf = (name) => rooms.get(name) ?? rooms.set(name, new Set()).get(name);

function tell(name, message) {
  const text = JSON.stringify(message);
  for (const socket of roomOf(name)) if (socket.readyState === WebSocket.OPEN) socket.send(text);
}

const http = createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = JSON.parse(Buffer.concat(pieces).toString());
    const agent = request.url.split("/")[4];
    if (request.url.endsWith("/ping")) {
      const topic = `agents/${body.pool_id}`;
      tell(topic, { type: "update", topic, agent_id: agent, ...body });
    } else tell("requests", { type: "event", topic: "requests", data: body });
    response.writeHead(202, { "Content-Type": "application/json" }).end('{"accepted":1}');
  });
});
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on("connection", (socket, request) => {
  const room = roomOf(request.url.split("?topics=")[1]);
  room.add(socket);
  socket.on("close", () => room.delete(socket));
});
http.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  const { port } = http.address();
  process.stdout.write(`${port} ${port}\n`);
});
process.stdin.on("end", () => process.exit(0)).resume();
