// frontend: asks `customer` over HTTP and `chat` over a WebSocket, and answers with what they said.
// Nothing here knows of baggage: OpenTelemetry's auto-instrumentation, loaded by `node --require`, carries it.
'use strict';
const express = require('express');
const { WebSocket } = require('ws');

const { VERSION = 'baseline', PORT = '8080', HOST = '::', CUSTOMER_URL, CHAT_URL } = process.env;
const me = { service: 'frontend', version: VERSION };

async function askCustomer() {
  try {
    const answer = await fetch(`${CUSTOMER_URL}/customer`);
    const body = await answer.text();
    if (answer.ok) return JSON.parse(body);
    return { service: 'customer', failed: `${answer.status} ${answer.headers.get('proxy-status') ?? ''} ${body}` };
  } catch (error) {
    return { service: 'customer', failed: `${error.message}: ${error.cause ?? ''}` };
  }
}

function askChat() {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${CHAT_URL}/chat`);
    const failed = (why) => resolve({ service: 'chat', failed: String(why) });
    socket.on('open', () => socket.send('who are you?'));
    socket.on('message', (data) => {
      resolve(JSON.parse(data.toString()));
      socket.close();
    });
    socket.on('unexpected-response', (_, answer) => {
      failed(`${answer.statusCode} ${answer.headers['proxy-status'] ?? ''}`);
      socket.terminate();
    });
    socket.on('error', failed);
    socket.on('close', failed);
  });
}

const app = express();
app.get('/ready', (_, response) => response.json(me));
app.get('/dispatch', async (_, response) => {
  response.json({ ...me, calls: await Promise.all([askCustomer(), askChat()]) });
});
app.listen(Number(PORT), HOST, () => console.log(`frontend ${VERSION} on ${PORT}`));
