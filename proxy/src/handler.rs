//! The steps of one request, in their order: context → decide → forward → respond. Both engines come through here; no
//! step calls the next one.

use std::pin::pin;

use crate::{
    answer_wait::AnswerWait,
    connection::Client,
    context::{self, Head, RequestContext},
    decide,
    endpoints::Choices,
    error::{ErrorKind, RequestError},
    forward::{Attempt, Attempts},
    respond::{self, Answer},
    telemetry::RequestRecord,
};

/// One request in the hands of its engine.
pub(crate) trait Exchange {
    /// Its head.
    fn head(&self) -> impl Head + '_;

    /// Sends it to one upstream, and the answer back; returns when both are over. Notes the answer's status, and holds
    /// `wait` once its head has come.
    ///
    /// # Cancel safety
    /// Dropped before the answer's head has come, it resets what it had sent to the upstream; the client can be answered.
    ///
    /// # Errors
    /// The upstream could not be had or broke off. If something of its answer went on, the caller has been told by an
    /// abort.
    async fn send(
        &mut self,
        context: &RequestContext,
        attempt: &Attempt,
        record: &mut RequestRecord,
        wait: &AnswerWait,
    ) -> Result<(), RequestError>;

    /// Gives the proxy's own answer, unless another one has begun.
    async fn answer(&mut self, record: &mut RequestRecord, answer: Answer);
}

/// Apart from the steps that wait, so that the head it borrows is let go of before them.
#[inline]
fn read(client: &Client, exchange: &impl Exchange) -> Result<RequestContext, RequestError> {
    #[cfg(test)]
    assert_ne!(exchange.head().method(), PANIC, "asked for by a test");
    context::read(client, &exchange.head())
}

/// The method at which a test's request panics.
#[cfg(test)]
pub(crate) const PANIC: &[u8] = b"PANIC";

/// Takes one request through its steps.
#[inline]
pub(crate) async fn handle<X: Exchange>(
    client: &Client,
    choices: &Choices,
    record: &mut RequestRecord,
    exchange: &mut X,
) {
    let context = read(client, exchange);
    let worker = &client.worker;
    worker.retries.note_request();
    let (grpc, refused) = match &context {
        Ok(context) => (context.grpc, worker.shared.overload.sheds().then(overloaded)),
        Err(_) => (false, None),
    };
    let context = match (context, refused) {
        (Ok(context), None) => context,
        (Ok(_), Some(error)) | (Err(error), _) => {
            let answer = respond::answer(client, grpc, None, &error);
            record.refused(error.kind.reason());
            return exchange.answer(record, answer).await;
        }
    };
    let decision = decide::decide(client, &context);
    record.decided(&decision, &exchange.head());
    record.describe(|for_span| context::describe(client, &exchange.head(), &decision, for_span));
    let mut attempts = Attempts::new(client, choices, &context, &decision);
    let wait = AnswerWait::new(worker.shared.config.limits.request_timeout);
    let outcome = loop {
        let attempt = match attempts.next() {
            Ok(attempt) => attempt,
            Err(error) => break Err(error),
        };
        attempt.note(record);
        let sending = pin!(exchange.send(&context, &attempt, record, &wait));
        match wait.bound(sending).await {
            // Whoever is slow with one request is not set aside, and nobody else is asked.
            None => {
                break Err(RequestError::upstream(attempt.target.side(), ErrorKind::RequestTimeout, None));
            }
            Some(Err(error)) if attempts.continue_after(attempt.target, &error) => {}
            Some(outcome) => break outcome,
        }
    };
    if let Err(error) = outcome {
        let outcome = respond::Outcome { decision: &decision, fell_back: attempts.fell_back() };
        let answer = respond::answer(client, context.grpc, Some(outcome), &error);
        record.refused(error.kind.reason());
        exchange.answer(record, answer).await;
    }
}

/// Before anything is done with the request, so that it can be sent anywhere else.
#[cold]
fn overloaded() -> RequestError {
    RequestError::client(ErrorKind::Overload)
}
