// The AWS SDK for JavaScript v3 as a caller: a function's life, each step printed once it went as AWS documents it.
//
// Takes a function's name, its role, two packages (zips) and the Node.js runtime for them. Endpoint, region and
// credentials come from the environment, as in anybody's program.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  CreateFunctionCommand,
  DeleteFunctionCommand,
  GetFunctionCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  InvalidParameterValueException,
  LambdaClient,
  LambdaServiceException,
  ResourceConflictException,
  ResourceNotFoundException,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
  paginateListFunctions,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from "@aws-sdk/client-lambda";

const [FunctionName, Role, first, second, Runtime] = process.argv.slice(2);
const client = new LambdaClient({ maxAttempts: 1 });
const text = (bytes) => new TextDecoder().decode(bytes);
const waiting = { client, minDelay: 0.1, maxDelay: 1, maxWaitTime: 60 };

/** The error a command must be refused with. */
async function refused(command, kind) {
  const error = await client.send(command).then(() => assert.fail(`${kind.name} was expected`), (error) => error);
  assert.ok(error instanceof kind, error);
  assert.ok(error instanceof LambdaServiceException, error);
  return error;
}

const made = {
  FunctionName,
  Runtime,
  Role,
  Handler: "index.handler",
  Code: { ZipFile: readFileSync(first) },
  Environment: { Variables: { GREETING: "Hello" } },
};
const missing = await refused(new GetFunctionCommand({ FunctionName }), ResourceNotFoundException);
assert.equal(missing.$metadata.httpStatusCode, 404);
assert.equal(missing.$fault, "client");
console.log(`not there: ${missing.message}`);

const created = await client.send(new CreateFunctionCommand(made));
assert.equal(created.State, "Pending");
const waited = await waitUntilFunctionActiveV2(waiting, { FunctionName });
assert.equal(waited.state, "SUCCESS");
console.log("active");

await refused(new CreateFunctionCommand(made), ResourceConflictException);
const wrong = { ...made, FunctionName: `${FunctionName}-wrong`, Code: { ZipFile: Buffer.from("no zip") } };
await refused(new CreateFunctionCommand(wrong), InvalidParameterValueException);
console.log("refused");

const answer = await client.send(
  new InvokeCommand({ FunctionName, Payload: JSON.stringify({ name: "Ada" }), LogType: "Tail" }),
);
assert.equal(answer.StatusCode, 200);
assert.equal(answer.FunctionError, undefined);
assert.equal(answer.ExecutedVersion, "$LATEST");
assert.match(Buffer.from(answer.LogResult, "base64").toString(), /greeting Ada/);
console.log(`invoked: ${answer.Payload.transformToString()}`);

const failed = await client.send(new InvokeCommand({ FunctionName, Payload: JSON.stringify({ fail: "on purpose" }) }));
assert.equal(failed.FunctionError, "Unhandled");
const { errorType, errorMessage } = JSON.parse(failed.Payload.transformToString());
console.log(`failed: ${errorType} ${errorMessage}`);

await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Handler: "index.handler", Timeout: 20 }));
await waitUntilFunctionUpdatedV2(waiting, { FunctionName });
const updated = await client.send(new UpdateFunctionCodeCommand({ FunctionName, ZipFile: readFileSync(second) }));
assert.equal(updated.Timeout, 20);
assert.notEqual(updated.CodeSha256, created.CodeSha256);
await waitUntilFunctionUpdatedV2(waiting, { FunctionName });
console.log("updated");

const streamed = await client.send(
  new InvokeWithResponseStreamCommand({ FunctionName, Payload: JSON.stringify({ parts: 3 }) }),
);
assert.equal(streamed.StatusCode, 200);
let [received, complete] = ["", null];
for await (const event of streamed.EventStream) {
  if (event.PayloadChunk) received += text(event.PayloadChunk.Payload);
  if (event.InvokeComplete) complete = event.InvokeComplete;
}
assert.ok(complete, "the stream ends with InvokeComplete");
assert.equal(complete.ErrorCode, undefined);
console.log(`streamed: ${received}`);

const names = [];
for await (const page of paginateListFunctions({ client, pageSize: 1 }, {})) {
  names.push(...page.Functions.map((one) => one.FunctionName));
}
assert.ok(names.includes(FunctionName), names.join());
console.log("listed");

await client.send(new DeleteFunctionCommand({ FunctionName }));
await refused(new InvokeCommand({ FunctionName }), ResourceNotFoundException);
console.log("deleted");
