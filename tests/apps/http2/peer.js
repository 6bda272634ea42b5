// http2 in Node.js: both ends of one exchange, as its own module speaks it without TLS.
//
// Without arguments it serves HTTP/2: the answer is the request's body, with its digest as the trailer `x-sum`, and
// `x-trailer` says whether the request brought the same one. With a URL and a routing key (or none) it asks, checks all
// of that, and prints who answered.
'use strict';
const crypto = require('crypto');
const http2 = require('http2');

const SIZE = 1 << 20;
const digest = (body) => crypto.createHash('sha256').update(body).digest('hex');

// Calls back with the body and the trailer of a stream, once both are there.
function whole(stream, done) {
  const parts = [];
  let sum = '';
  stream.on('data', (part) => parts.push(part));
  stream.on('trailers', (trailers) => { sum = trailers['x-sum'] ?? ''; });
  stream.on('end', () => done(Buffer.concat(parts), sum));
}

function serve() {
  const server = http2.createServer();
  server.on('stream', (stream) => {
    stream.on('error', (error) => console.error(error));
    whole(stream, (body, sum) => {
      const said = sum === digest(body) ? 'good' : sum === '' ? 'none' : 'bad';
      const head = { ':status': 200, 'x-version': process.env.VERSION, 'x-trailer': said };
      stream.respond(head, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': digest(body) }));
      stream.end(body);
    });
  });
  server.listen(Number(process.env.PORT), '::');
}

function ask(url, key) {
  const failed = (why) => {
    console.error(why);
    process.exit(1);
  };
  setTimeout(() => failed('no answer'), 20000).unref();
  const session = http2.connect(url);
  session.on('error', failed);
  const body = crypto.randomBytes(SIZE);
  const head = { ':method': 'POST', trailer: 'x-sum', ...(key && { baggage: `routing-key=${key}` }) };
  const stream = session.request(head, { waitForTrailers: true });
  stream.on('error', failed);
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': digest(body) }));
  stream.end(body);
  let got;
  stream.on('response', (fields) => { got = fields; });
  whole(stream, (answer, sum) => {
    if (got[':status'] !== 200 || !answer.equals(body)) failed(`${got[':status']}, ${answer.length} bytes`);
    if (sum !== digest(body)) failed(`the trailer says "${sum}"`);
    console.log(got['x-version'], got['x-trailer']);
    session.close();
  });
}

if (process.argv.length > 3) ask(process.argv[2], process.argv[3]);
else serve();
