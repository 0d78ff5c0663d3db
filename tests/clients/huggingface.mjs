// Makes calls of one of the client's methods, which the command names, with the arguments that
// standard input lists as JSON; prints what came of each: its answer, or its error's name and
// message.
import { text } from "node:stream/consumers";
import { InferenceClient } from "@huggingface/inference";

const client = new InferenceClient();
const outcomes = [];
for (const call of JSON.parse(await text(process.stdin))) {
  try {
    outcomes.push({ answer: await client[process.argv[2]](call) });
  } catch (error) {
    const status = error.httpResponse?.status;
    outcomes.push({ name: error.name, message: error.message, status });
  }
}
console.log(JSON.stringify(outcomes));
