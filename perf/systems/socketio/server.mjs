// Socket.IO with its Redis adapter, as its documentation does it: one of several processes on the same port, over which
// the kernel spreads connections (sticky sessions are not needed: WebSocket is the only transport).
//
// PORT and REDIS_PORT come from the environment. A client says "join" with the name of a room and is acknowledged; the
// body of a POST to /publish/<room> is emitted to that room as "message".
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const pub = createClient({ url: `redis://127.0.0.1:${process.env.REDIS_PORT}` });
const sub = pub.duplicate();
await Promise.all([pub.connect(), sub.connect()]);

const web = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    io.to(request.url.slice("/publish/".length)).emit("message", JSON.parse(Buffer.concat(chunks).toString() || "null"));
    response.writeHead(204).end();
  });
});
const io = new Server(web, { adapter: createAdapter(pub, sub), transports: ["websocket"], serveClient: false });

io.on("connection", (socket) => {
  socket.on("join", async (room, acknowledge) => {
    await socket.join(room);
    acknowledge();
  });
});

process.on("SIGTERM", () => io.close(() => process.exit(0)));
web.listen({ host: "127.0.0.1", port: Number(process.env.PORT), reusePort: true, backlog: 4096 });
