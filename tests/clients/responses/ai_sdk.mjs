// The conversation of `talk.py` with the AI SDK's OpenAI provider. Prints one JSON object.
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: process.env.EUROUTER_URL, apiKey: "any" });
const model = openai.responses(process.env.EUROUTER_MODEL);
const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `fine in ${city}`,
});
const tools = { weather, web_search: openai.tools.webSearch({}) };
const reasoning = { reasoningEffort: "low", reasoningSummary: "auto", forceReasoning: true };
const common = { model, maxRetries: 0, stopWhen: stepCountIs(5) };

async function streamed(request) {
  let heard = "";
  const failures = [];
  const result = streamText({ ...common, ...request, onError: ({ error }) => failures.push(error) });
  for await (const piece of result.textStream) heard += piece;
  if (failures.length > 0) throw failures[0];
  return heard;
}

async function refused(request) {
  try {
    await streamed(request);
    return "";
  } catch (error) {
    return error.name ?? error.constructor?.name ?? String(error.type ?? "error");
  }
}

const said = {};
const first = await generateText({ ...common, system: "Be brief.", prompt: "Say hello." });
said.plain = first.text;
said.streamed = await streamed({ prompt: "Count." });
const stored = await generateText({
  ...common, tools, prompt: "The weather?", providerOptions: { openai: reasoning },
});
said.tools = stored.text;
said.tools_streamed = await streamed({
  tools, prompt: "The weather?", providerOptions: { openai: { ...reasoning, store: false } },
});
const parsed = await generateText({
  ...common,
  prompt: "Where?",
  output: Output.object({ schema: z.object({ city: z.string(), country: z.string() }) }),
});
said.parsed = parsed.output;
const again = await generateText({
  ...common,
  prompt: "And now?",
  providerOptions: { openai: { previousResponseId: first.providerMetadata.openai.responseId } },
});
said.continued = again.text;
said.cut = await refused({ prompt: "Count." });

const versions = {};
for (const name of ["ai", "@ai-sdk/openai"]) {
  const path = new URL(`node_modules/${name}/package.json`, import.meta.url);
  versions[name] = JSON.parse(readFileSync(path, "utf8")).version;
}
console.log(JSON.stringify({ versions, said }));
