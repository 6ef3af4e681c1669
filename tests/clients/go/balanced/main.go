// Calls a service of several pods without a pause until its input ends, then says how many calls it made and
// how many failed.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // without it healthCheckConfig is ignored
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver/dns"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	eurouterv1 "example.com/chat/gen/eurouter/v1"
)

const (
	inFlight = 6
	pause    = 50 * time.Millisecond
)

const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "eurouter.v1.ChatService"},
  "methodConfig": [{
    "name": [{"service": "eurouter.v1.ChatService"}],
    "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

func dial(target string) (*grpc.ClientConn, error) {
	// For the whole program; 30 s unless told.
	dns.SetMinResolutionInterval(5 * time.Second)
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
	)
}

// counts is what all loops found together.
type counts struct {
	lock   sync.Mutex
	Calls  int      `json:"calls"`
	Failed []string `json:"failed"`
}

func (c *counts) add(err error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.Calls++
	if err != nil {
		c.Failed = append(c.Failed, status.Convert(err).Code().String()+": "+status.Convert(err).Message())
	}
}

func call(chat eurouterv1.ChatServiceClient) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("EUROUTER_KEY"))
	_, err := chat.CreateChatCompletion(ctx, &eurouterv1.CreateChatCompletionRequest{
		Model: proto.String(os.Getenv("EUROUTER_MODEL")),
		Messages: []*eurouterv1.ChatMessage{{
			Role:    eurouterv1.ChatRole_CHAT_ROLE_USER,
			Content: []*eurouterv1.ContentPart{{Part: &eurouterv1.ContentPart_Text{Text: "Hello"}}},
		}},
	})
	return err
}

func main() {
	conn, err := dial(os.Getenv("EUROUTER_TARGET"))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	chat := eurouterv1.NewChatServiceClient(conn)

	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	found := counts{Failed: []string{}}
	var loops sync.WaitGroup
	for range inFlight {
		loops.Go(func() {
			for {
				found.add(call(chat))
				select {
				case <-over:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	loops.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(&found); err != nil {
		log.Fatal(err)
	}
}
