// An ordinary web server, written for no platform in particular: it listens on $PORT and serves pages, an upload
// that is answered while it is still arriving, and a stream of events. One process takes many requests at once.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("public", import.meta.url));
const types = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".svg": "image/svg+xml",
};
let waiting = 0;

createServer((request, response) => {
  const url = new URL(request.url, "http://site");
  const route = routes[`${request.method} ${url.pathname}`] ?? page;
  route(request, response, url).catch((error) => {
    console.error(error);
    if (response.headersSent) response.destroy();
    else send(response, 500, "something went wrong\n");
  });
}).listen(Number(process.env.PORT ?? 8080), () => console.log(`serving on port ${process.env.PORT ?? 8080}`));

const routes = {
  "GET /clock": clock,
  "POST /upper": upper,
  "GET /together": together,
};

/** A file from public/, or 404. */
async function page(request, response, url) {
  if (request.method !== "GET" && request.method !== "HEAD") return send(response, 405, "only GET and HEAD here\n");
  let path;
  try {
    path = join(root, normalize(decodeURIComponent(url.pathname)));
  } catch {
    return send(response, 400, "this is not a path\n");
  }
  if (path.endsWith("/")) path += "index.html";
  const file = path.startsWith(root) && (await stat(path).catch(() => undefined));
  if (!file || !file.isFile()) return send(response, 404, "there is no such page\n");
  response.writeHead(200, {
    "content-length": file.size,
    "content-type": types[extname(path)] ?? "application/octet-stream",
  });
  if (request.method === "HEAD") return response.end();
  createReadStream(path).pipe(response);
}

/** Server-sent events: `?ticks=N` of them, as they happen. */
async function clock(request, response, url) {
  const ticks = Math.min(Number(url.searchParams.get("ticks") ?? 5) || 5, 100);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  for (let tick = 1; tick <= ticks && !response.destroyed; tick++) {
    response.write(`data: ${JSON.stringify({ tick, at: new Date().toISOString() })}\n\n`);
    await sleep(200);
  }
  response.end();
}

/** The request's body in upper case, piece by piece as it arrives. */
async function upper(request, response) {
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8" });
  request.setEncoding("utf8");
  for await (const piece of request) response.write(piece.toUpperCase());
  response.end();
}

/** Answers once `?n=N` visitors wait here together, which only a server of many requests at once can see. */
async function together(request, response, url) {
  const wanted = Math.min(Number(url.searchParams.get("n") ?? 2) || 2, 50);
  waiting += 1;
  try {
    while (waiting < wanted && !response.destroyed) await sleep(10);
    send(response, 200, `${wanted} together\n`);
    await sleep(50);
  } finally {
    waiting -= 1;
  }
}

function send(response, status, text) {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "content-length": Buffer.byteLength(text) });
  response.end(text);
}
