// A Socket.IO server with an impatient heartbeat. Whoever joins is told numbers, a few every few milliseconds.
import { createServer } from "node:http";
import { Server } from "socket.io";

const [port, count] = process.argv.slice(2).map(Number);
const http = createServer();
const io = new Server(http, { pingInterval: 150, pingTimeout: 250 });

io.on("connection", (socket) => {
  let number = 0;
  const timer = setInterval(() => {
    for (let burst = 0; burst < 5 && number < count; burst++) socket.emit("message", { user: "小明", text: `${++number}` });
    if (number === count) clearInterval(timer);
  }, 10);
  socket.on("disconnect", (why) => console.log(`gone ${why}`));
});
http.listen(port, "127.0.0.1", () => console.log(`port ${http.address().port}`));
