// The same answer from an ordinary web server: measured by itself, and as a `web` function.
import { createServer } from "node:http";

let served = 0;
const server = createServer((request, response) => {
  served += 1;
  const body = `{"greeting":"Hello from the edge!","served":${served}}\n`;
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
});
server.keepAliveTimeout = 0;
server.listen(Number(process.env.PORT), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
