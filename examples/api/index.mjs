// A small REST API that converts units, routed by Hono and served through the function's URL.

import { Hono } from "hono";
import { handle } from "hono/aws-lambda";

import { convert, units } from "./units.mjs";

const app = new Hono();

app.get("/", (c) => c.json({ name: "unit converter", routes: ["GET /units", "GET /convert", "POST /conversions"] }));

app.get("/units", (c) => c.json(units()));

app.get("/convert", (c) => {
  const { value, from, to } = c.req.query();
  return c.json(convert({ value: value === undefined ? undefined : Number(value), from, to }));
});

app.post("/conversions", async (c) => {
  const requests = await c.req.json().catch(() => undefined);
  if (!Array.isArray(requests)) return c.json({ error: "the body must be a JSON array of conversions" }, 400);
  return c.json(requests.map(convert), 201);
});

app.notFound((c) => c.json({ error: `there is no ${c.req.method} ${c.req.path}` }, 404));

app.onError((error, c) => {
  if (error instanceof RangeError) return c.json({ error: error.message }, 400);
  console.error(error);
  return c.json({ error: "internal error" }, 500);
});

export const handler = handle(app);
