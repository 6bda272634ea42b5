module bellhop.dev/tests/http2

go 1.26.0
