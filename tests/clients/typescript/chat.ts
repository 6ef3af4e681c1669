// A client of eurouter: one whole answer, one streamed answer, one error read in full.
import { credentials, Metadata, status, type ClientOptions, type ServiceError, type StatusObject } from "@grpc/grpc-js";
import { ChatServiceClient, ChatRole, CreateChatCompletionRequest, type ChatCompletion } from "./gen/eurouter/v1/chat.js";
import { BadRequest, ErrorInfo, RetryInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";

const MAX_MESSAGE = 32 * 1024 * 1024;

const options: ClientOptions = {
  "grpc.max_receive_message_length": MAX_MESSAGE,
  "grpc.max_send_message_length": MAX_MESSAGE,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
};

/** Opens no connection yet: the first call does. In production: credentials.createSsl(). */
function dial(target: string): ChatServiceClient {
  return new ChatServiceClient(target, credentials.createInsecure(), options);
}

function withKey(key: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  return metadata;
}

function ask(model: string, text: string): CreateChatCompletionRequest {
  return CreateChatCompletionRequest.fromPartial({
    model,
    messages: [{ role: ChatRole.CHAT_ROLE_USER, content: [{ part: { $case: "text", value: text } }] }],
    provider: { sort: "price" },
  });
}

const deadline = (seconds: number) => ({ deadline: Date.now() + seconds * 1000 });

interface Answered {
  completion: ChatCompletion;
  trailer: Metadata;
}

function create(chat: ChatServiceClient, key: Metadata, request: CreateChatCompletionRequest): Promise<Answered> {
  return new Promise((resolve, reject) => {
    let answer: ChatCompletion | undefined;
    chat
      .createChatCompletion(request, key, deadline(60), (error, completion) => {
        if (error) reject(error);
        else answer = completion;
      })
      // The status comes after the answer and brings the trailers.
      .on("status", (received: StatusObject) => {
        if (answer) resolve({ completion: answer, trailer: received.metadata });
      });
  });
}

async function unary(chat: ChatServiceClient, key: Metadata, model: string): Promise<void> {
  const { completion, trailer } = await create(chat, key, ask(model, "Say hello."));
  console.log("answer:", completion.choices[0]?.message?.content);
  console.log("provider:", trailer.get("x-provider-slug").join(","));
}

async function stream(chat: ChatServiceClient, key: Metadata, model: string): Promise<void> {
  const chunks = chat.streamChatCompletion(ask(model, "Say hello."), key, deadline(60));
  let text = "";
  // Throws when the stream was cut; leaving the loop early cancels the call, upstream too.
  for await (const chunk of chunks) {
    for (const choice of chunk.choices) text += choice.delta?.content ?? "";
  }
  console.log("streamed:", text);
}

/** Shows what a failed call says about itself. */
function explain(error: ServiceError): void {
  console.log("code:", status[error.code]);
  const [packed] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(packed)) return; // not from the service: no connection, or the deadline
  for (const detail of Status.decode(packed).details) {
    switch (detail.typeUrl) {
      case "type.googleapis.com/google.rpc.ErrorInfo":
        console.log("reason:", ErrorInfo.decode(detail.value).reason);
        break;
      case "type.googleapis.com/google.rpc.BadRequest":
        for (const violation of BadRequest.decode(detail.value).fieldViolations) {
          console.log("field:", violation.field);
        }
        break;
      case "type.googleapis.com/google.rpc.RetryInfo":
        console.log("retry after:", RetryInfo.decode(detail.value).retryDelay);
        break;
    }
  }
}

async function main(): Promise<void> {
  const chat = dial(process.env.EUROUTER_TARGET ?? "");
  const key = withKey(process.env.EUROUTER_KEY ?? "");
  const model = process.env.EUROUTER_MODEL ?? "";
  try {
    await unary(chat, key, model);
    await stream(chat, key, model);
    const wrong = { ...ask(model, "Say hello."), temperature: 3 };
    const failure = await create(chat, key, wrong).then(
      () => new Error("a temperature of 3 was accepted"),
      (error: ServiceError) => error,
    );
    if (!("code" in failure)) throw failure;
    explain(failure);
  } finally {
    chat.close();
  }
}

await main();
