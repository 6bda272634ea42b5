// chat: a WebSocket server that answers each message with who it is. `GET /ready` answers over plain HTTP.
'use strict';
const http = require('http');
const { WebSocketServer } = require('ws');

const { VERSION = 'baseline', PORT = '8080', HOST = '::' } = process.env;
const me = JSON.stringify({ service: 'chat', version: VERSION });

const server = http.createServer((_, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(me);
});
const sockets = new WebSocketServer({ server });
sockets.on('connection', (socket) => socket.on('message', () => socket.send(me)));
server.listen(Number(PORT), HOST, () => console.log(`chat ${VERSION} on ${PORT}`));
