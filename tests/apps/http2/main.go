// http2 in Go: both ends of one exchange, as net/http speaks it without TLS.
//
// Without arguments it serves HTTP/1 and HTTP/2: the answer is the request's body, with its digest as the trailer
// `x-sum`, and `x-trailer` says whether the request brought the same one. With a URL and a routing key (or none) it
// asks, checks all of that, and prints who answered.
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

const size = 1 << 20

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	said := "none"
	if sum := r.Trailer.Get("X-Sum"); sum == digest(body) {
		said = "good"
	} else if sum != "" {
		said = "bad"
	}
	w.Header().Set("Trailer", "X-Sum")
	w.Header().Set("X-Version", os.Getenv("VERSION"))
	w.Header().Set("X-Trailer", said)
	w.Write(body)
	w.Header().Set("X-Sum", digest(body))
}

func ask(url, key string) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 20 * time.Second}
	body := make([]byte, size)
	rand.Read(body)
	// Of no known length, as bodies with trailers are.
	request, err := http.NewRequest(http.MethodPost, url, struct{ io.Reader }{bytes.NewReader(body)})
	if err != nil {
		return err
	}
	request.Trailer = http.Header{"X-Sum": {digest(body)}}
	if key != "" {
		request.Header.Set("Baggage", "routing-key="+key)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != 200 || response.ProtoMajor != 2 || !bytes.Equal(got, body) {
		return fmt.Errorf("%s %s, %d bytes", response.Proto, response.Status, len(got))
	}
	if sum := response.Trailer.Get("X-Sum"); sum != digest(body) {
		return fmt.Errorf("the trailer says %q", sum)
	}
	fmt.Println(response.Header.Get("X-Version"), response.Header.Get("X-Trailer"))
	return nil
}

func main() {
	if len(os.Args) > 2 {
		if err := ask(os.Args[1], os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: ":" + os.Getenv("PORT"), Handler: http.HandlerFunc(answer), Protocols: protocols}
	log.Fatal(server.ListenAndServe())
}
