// What the bench invokes: it greets, and says how long its own body took.
export const handler = async (event) => {
  const start = process.hrtime.bigint();
  if (event.about === "interpreter") return { executable: process.execPath, version: process.versions.node };
  const reply = { greeting: "Hello from the edge!" };
  reply.handler_ns = Number(process.hrtime.bigint() - start);
  return reply;
};
