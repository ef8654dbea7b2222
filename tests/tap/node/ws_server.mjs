// A server of the `ws` library. Each connection is told "connection:number" for so many numbers, some of them as
// binary messages, some in fragments; then it is closed, cut, or kept, in turn. Prints its port, and what it said.
import { WebSocketServer } from "ws";

const [port, count] = process.argv.slice(2).map(Number);
const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: { threshold: 64 } });
let connections = 0;

server.on("listening", () => console.log(`port ${server.address().port}`));
server.on("connection", (socket) => {
  const connection = ++connections;
  let number = 0;
  socket.on("error", () => {});
  socket.on("message", (data) => console.log(`got ${data}`));
  const say = () => {
    for (let burst = 0; burst < 50 && number < count; burst++) send(socket, `${connection}:${++number}`);
    if (number < count) return setImmediate(say);
    if (connection % 3 === 1) socket.close(1012, "come again");
    if (connection % 3 === 2) socket.send("last", () => socket.terminate());
  };
  say();
});

function send(socket, text) {
  const number = Number(text.split(":")[1]);
  if (number % 7 === 0) socket.send(Buffer.from(text));
  else if (number % 11 === 0) {
    socket.send(text.slice(0, 2), { fin: false });
    socket.ping();
    socket.send(text.slice(2), { fin: true });
  } else socket.send(number % 5 ? text : text.padEnd(300));
}
