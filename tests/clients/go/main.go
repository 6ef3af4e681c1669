// A client of eurouter: one whole answer, one streamed answer, one error read in full.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	eurouterv1 "example.com/chat/gen/eurouter/v1"
)

const maxMessage = 32 << 20

// dial opens no connection yet: the first call does.
func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target,
		// In production: credentials.NewTLS(...), or NewClientTLSFromFile for an own authority.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage),
		),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	)
}

// withKey adds the API key to every call that is made with the context.
func withKey(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
}

func ask(model, text string) *eurouterv1.CreateChatCompletionRequest {
	return &eurouterv1.CreateChatCompletionRequest{
		Model: proto.String(model),
		Messages: []*eurouterv1.ChatMessage{{
			Role: eurouterv1.ChatRole_CHAT_ROLE_USER,
			Content: []*eurouterv1.ContentPart{
				{Part: &eurouterv1.ContentPart_Text{Text: text}},
			},
		}},
		Provider: &eurouterv1.ProviderPreferences{Sort: proto.String("price")},
	}
}

func unary(ctx context.Context, chat eurouterv1.ChatServiceClient, model string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var trailer metadata.MD
	answer, err := chat.CreateChatCompletion(ctx, ask(model, "Say hello."), grpc.Trailer(&trailer))
	if err != nil {
		return err
	}
	fmt.Println("answer:", answer.GetChoices()[0].GetMessage().GetContent())
	fmt.Println("provider:", strings.Join(trailer.Get("x-provider-slug"), ","))
	return nil
}

func stream(ctx context.Context, chat eurouterv1.ChatServiceClient, model string) error {
	// Leaving early is fine: cancel ends the upstream call, too.
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	chunks, err := chat.StreamChatCompletion(ctx, ask(model, "Say hello."))
	if err != nil {
		return err
	}
	fmt.Print("streamed: ")
	for {
		chunk, err := chunks.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Println()
			return nil
		}
		if err != nil {
			return err // the stream was cut: what came so far is not the whole answer
		}
		for _, choice := range chunk.GetChoices() {
			fmt.Print(choice.GetDelta().GetContent())
		}
	}
}

// explain shows what a failed call says about itself.
func explain(err error) {
	failed := status.Convert(err)
	fmt.Println("code:", failed.Code())
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Println("reason:", detail.GetReason())
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fmt.Println("field:", violation.GetField())
			}
		case *errdetails.RetryInfo:
			fmt.Println("retry after:", detail.GetRetryDelay().AsDuration())
		}
	}
}

func mistake(ctx context.Context, chat eurouterv1.ChatServiceClient, model string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	wrong := ask(model, "Say hello.")
	wrong.Temperature = proto.Float64(3)
	_, err := chat.CreateChatCompletion(ctx, wrong)
	if err == nil {
		return errors.New("a temperature of 3 was accepted")
	}
	explain(err)
	return nil
}

func run() error {
	conn, err := dial(os.Getenv("EUROUTER_TARGET"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	chat := eurouterv1.NewChatServiceClient(conn)
	ctx := withKey(context.Background(), os.Getenv("EUROUTER_KEY"))
	model := os.Getenv("EUROUTER_MODEL")

	if err := unary(ctx, chat, model); err != nil {
		return err
	}
	if err := stream(ctx, chat, model); err != nil {
		return err
	}
	return mistake(ctx, chat, model)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
