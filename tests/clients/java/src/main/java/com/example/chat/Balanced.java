// Calls a service of several pods without a pause until its input ends, then says how many calls it made and
// how many failed.
package com.example.chat;

import dev.eurouter.v1.ChatMessage;
import dev.eurouter.v1.ChatRole;
import dev.eurouter.v1.ChatServiceGrpc;
import dev.eurouter.v1.ChatServiceGrpc.ChatServiceBlockingStub;
import dev.eurouter.v1.ContentPart;
import dev.eurouter.v1.CreateChatCompletionRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

public final class Balanced {
  private static final int IN_FLIGHT = 6;
  private static final int PAUSE_MILLISECONDS = 50;

  private static final Map<String, Object> SERVICE_CONFIG =
      Map.of(
          "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
          // Without io.grpc:grpc-services on the class path it is ignored.
          "healthCheckConfig", Map.of("serviceName", "eurouter.v1.ChatService"),
          "methodConfig",
              List.of(
                  Map.of(
                      "name", List.of(Map.of("service", "eurouter.v1.ChatService")),
                      "retryPolicy",
                          Map.of(
                              "maxAttempts", 3.0,
                              "initialBackoff", "0.1s",
                              "maxBackoff", "2s",
                              "backoffMultiplier", 2.0,
                              "retryableStatusCodes", List.of("UNAVAILABLE")))));

  private Balanced() {}

  static ManagedChannel dial(String target) {
    return Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
        .defaultServiceConfig(SERVICE_CONFIG)
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(true)
        .build();
  }

  static void callUntil(CountDownLatch over, ChatServiceBlockingStub chat, AtomicInteger calls, List<String> failed) {
    CreateChatCompletionRequest request =
        CreateChatCompletionRequest.newBuilder()
            .setModel(System.getenv("EUROUTER_MODEL"))
            .addMessages(
                ChatMessage.newBuilder()
                    .setRole(ChatRole.CHAT_ROLE_USER)
                    .addContent(ContentPart.newBuilder().setText("Hello")))
            .build();
    try {
      do {
        calls.incrementAndGet();
        try {
          chat.withDeadlineAfter(20, TimeUnit.SECONDS).createChatCompletion(request);
        } catch (StatusRuntimeException failure) {
          failed.add('"' + failure.getMessage().replaceAll("[\"\\\\\\p{Cntrl}]", " ") + '"');
        }
      } while (!over.await(PAUSE_MILLISECONDS, TimeUnit.MILLISECONDS));
    } catch (InterruptedException left) {
      Thread.currentThread().interrupt();
    }
  }

  public static void main(String[] args) throws Exception {
    ManagedChannel channel = dial(System.getenv("EUROUTER_TARGET"));
    ChatServiceBlockingStub chat =
        ChatServiceGrpc.newBlockingStub(channel)
            .withInterceptors(Chat.withKey(System.getenv("EUROUTER_KEY")));
    CountDownLatch over = new CountDownLatch(1);
    AtomicInteger calls = new AtomicInteger();
    List<String> failed = Collections.synchronizedList(new ArrayList<>());
    List<Thread> loops = new ArrayList<>();
    for (int each = 0; each < IN_FLIGHT; each++) {
      Thread loop = new Thread(() -> callUntil(over, chat, calls, failed));
      loop.start();
      loops.add(loop);
    }
    System.in.readAllBytes();
    over.countDown();
    for (Thread loop : loops) {
      loop.join();
    }
    System.out.println("{\"calls\": " + calls + ", \"failed\": " + failed + "}");
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
  }
}
