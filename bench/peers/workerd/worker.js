// The same answer as the other servers give, from an isolate that serves request after request.
let served = 0;

export default {
  fetch() {
    served += 1;
    const body = `{"greeting":"Hello from the edge!","served":${served}}\n`;
    return new Response(body, { headers: { "content-type": "application/json" } });
  },
};
