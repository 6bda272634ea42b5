// driver: the chain's last service, over gRPC. It asks its database, a server that speaks first, for its version.
//
// Nothing here knows of baggage: otelgrpc reads it. The messages are protobuf's own Struct, so that no generated code
// is needed.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

type driver struct {
	version  string
	database *sql.DB
}

// Find says who answered, which baggage arrived at the end of the chain, and what the database said.
func (d *driver) Find(ctx context.Context, _ *emptypb.Empty) (*structpb.Struct, error) {
	return structpb.NewStruct(map[string]any{
		"service": "driver",
		"version": d.version,
		"baggage": baggage.FromContext(ctx).String(),
		"calls":   []any{d.askDatabase(ctx)},
	})
}

func (d *driver) askDatabase(ctx context.Context) map[string]any {
	if d.database == nil {
		return map[string]any{"service": "database", "failed": "none configured"}
	}
	var version string
	if err := d.database.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return map[string]any{"service": "database", "failed": err.Error()}
	}
	return map[string]any{"service": "database", "version": version}
}

var service = grpc.ServiceDesc{
	ServiceName: "bellhop.tests.Driver",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Find",
		Handler: func(server any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			request := new(emptypb.Empty)
			if err := decode(request); err != nil {
				return nil, err
			}
			return server.(*driver).Find(ctx, request)
		},
	}},
}

func main() {
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	me := &driver{version: os.Getenv("VERSION")}
	if source := os.Getenv("DATABASE"); source != "" {
		database, err := sql.Open("mysql", source)
		if err != nil {
			log.Fatal(err)
		}
		database.SetConnMaxIdleTime(time.Second)
		me.database = database
	}
	listener, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler()))
	server.RegisterService(&service, me)
	fmt.Printf("driver %s on %s\n", me.version, os.Getenv("PORT"))
	log.Fatal(server.Serve(listener))
}
