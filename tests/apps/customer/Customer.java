import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.Executors;

/**
 * customer: asks {@code route} with the JDK's own client and answers with what it said. The OpenTelemetry Java agent
 * carries the context; nothing here knows of it. The client keeps its default, HTTP/2, so that its first request offers
 * the upgrade to h2c.
 */
public final class Customer {
    private static final String VERSION = System.getenv().getOrDefault("VERSION", "baseline");
    private static final int PORT = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
    private static final URI ROUTE = URI.create(System.getenv("ROUTE_URL") + "/route");
    private static final HttpClient CLIENT =
            HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(10)).build();

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("::", PORT), 0);
        server.createContext("/ready", exchange -> answer(exchange, me("")));
        server.createContext("/customer", exchange -> answer(exchange, me(askRoute())));
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
        System.out.println("customer " + VERSION + " on " + PORT);
    }

    private static String me(String calls) {
        return "{\"service\":\"customer\",\"version\":\"" + VERSION + "\",\"calls\":[" + calls + "]}";
    }

    private static String askRoute() {
        try {
            HttpResponse<String> answer = CLIENT.send(
                    HttpRequest.newBuilder(ROUTE).timeout(Duration.ofSeconds(20)).build(),
                    HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() == 200) {
                return answer.body();
            }
            return failed(answer.statusCode() + " " + answer.headers().firstValue("proxy-status").orElse(""));
        } catch (IOException | InterruptedException error) {
            return failed(error.toString());
        }
    }

    private static String failed(String why) {
        String quoted = why.replace("\\", "\\\\").replace("\"", "\\\"");
        return "{\"service\":\"route\",\"failed\":\"" + quoted + "\"}";
    }

    private static void answer(HttpExchange exchange, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("content-type", "application/json");
        exchange.sendResponseHeaders(200, bytes.length);
        try (var out = exchange.getResponseBody()) {
            out.write(bytes);
        }
    }
}
