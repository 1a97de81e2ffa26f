// node:net, as its manual would have it: node node_net.mjs PORT
import { createServer } from "node:net";
import process from "node:process";

const server = createServer((client) => {
  client.on("data", (data) => process.stdout.write(data));
  client.on("error", () => client.destroy());
});
server.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
