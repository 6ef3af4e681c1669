// A client of eurouter: one whole answer, one streamed answer, one error read in full.
package com.example.chat;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.eurouter.v1.ChatCompletion;
import dev.eurouter.v1.ChatCompletionChunk;
import dev.eurouter.v1.ChatMessage;
import dev.eurouter.v1.ChatRole;
import dev.eurouter.v1.ChatServiceGrpc;
import dev.eurouter.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import dev.eurouter.v1.ChunkChoice;
import dev.eurouter.v1.ContentPart;
import dev.eurouter.v1.CreateChatCompletionRequest;
import dev.eurouter.v1.ProviderPreferences;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

public final class Chat {
  private static final int MAX_MESSAGE = 32 << 20;

  private Chat() {}

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  /** Opens no connection yet: the first call does. In production: TlsChannelCredentials.create(). */
  static ManagedChannel dial(String target) {
    return Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
        .defaultLoadBalancingPolicy("round_robin")
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(true)
        .maxInboundMessageSize(MAX_MESSAGE)
        .build();
  }

  /** Adds the API key to every call. */
  static ClientInterceptor withKey(String apiKey) {
    Metadata headers = new Metadata();
    headers.put(key("authorization"), "Bearer " + apiKey);
    return MetadataUtils.newAttachHeadersInterceptor(headers);
  }

  static CreateChatCompletionRequest ask(String model, String text) {
    return CreateChatCompletionRequest.newBuilder()
        .setModel(model)
        .addMessages(
            ChatMessage.newBuilder()
                .setRole(ChatRole.CHAT_ROLE_USER)
                .addContent(ContentPart.newBuilder().setText(text)))
        .setProvider(ProviderPreferences.newBuilder().setSort("price"))
        .build();
  }

  static void unary(ChatServiceBlockingStub chat, String model) {
    AtomicReference<Metadata> headers = new AtomicReference<>(new Metadata());
    AtomicReference<Metadata> trailers = new AtomicReference<>(new Metadata());
    ChatCompletion answer =
        chat.withDeadlineAfter(60, TimeUnit.SECONDS)
            .withInterceptors(MetadataUtils.newCaptureMetadataInterceptor(headers, trailers))
            .createChatCompletion(ask(model, "Say hello."));
    System.out.println("answer: " + answer.getChoices(0).getMessage().getContent());
    System.out.println("provider: " + trailers.get().get(key("x-provider-slug")));
  }

  static void stream(ChatServiceBlockingStub chat, String model) {
    // Throws when the stream was cut. To leave early, run it in a Context.CancellableContext and cancel that.
    Iterator<ChatCompletionChunk> chunks =
        chat.withDeadlineAfter(60, TimeUnit.SECONDS).streamChatCompletion(ask(model, "Say hello."));
    System.out.print("streamed: ");
    while (chunks.hasNext()) {
      for (ChunkChoice choice : chunks.next().getChoicesList()) {
        System.out.print(choice.getDelta().getContent());
      }
    }
    System.out.println();
  }

  /** Shows what a failed call says about itself. */
  static void explain(StatusRuntimeException failure) throws InvalidProtocolBufferException {
    System.out.println("code: " + failure.getStatus().getCode());
    com.google.rpc.Status status = StatusProto.fromThrowable(failure);
    for (Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        System.out.println("reason: " + detail.unpack(ErrorInfo.class).getReason());
      } else if (detail.is(BadRequest.class)) {
        for (BadRequest.FieldViolation violation :
            detail.unpack(BadRequest.class).getFieldViolationsList()) {
          System.out.println("field: " + violation.getField());
        }
      } else if (detail.is(RetryInfo.class)) {
        System.out.println("retry after: " + detail.unpack(RetryInfo.class).getRetryDelay());
      }
    }
  }

  public static void main(String[] args) throws Exception {
    ManagedChannel channel = dial(System.getenv("EUROUTER_TARGET"));
    String model = System.getenv("EUROUTER_MODEL");
    try {
      ChatServiceBlockingStub chat =
          ChatServiceGrpc.newBlockingStub(channel)
              .withInterceptors(withKey(System.getenv("EUROUTER_KEY")));
      unary(chat, model);
      stream(chat, model);
      CreateChatCompletionRequest wrong = ask(model, "Say hello.").toBuilder().setTemperature(3).build();
      try {
        chat.withDeadlineAfter(60, TimeUnit.SECONDS).createChatCompletion(wrong);
        throw new IllegalStateException("a temperature of 3 was accepted");
      } catch (StatusRuntimeException failure) {
        explain(failure);
      }
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }
}
