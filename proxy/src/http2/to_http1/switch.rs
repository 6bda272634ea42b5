//! The point in an exchange from which on it is a tunnel: seen where the answer is read, waited for where the client's
//! bytes are.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
    task::{Poll, Waker},
};

use crate::tunnel::Carrying;

/// Turned at most once.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    carrying: OnceCell<Rc<Carrying>>,
    waiting: RefCell<Option<Waker>>,
}

impl Switch {
    /// From here on it is a tunnel.
    pub(crate) fn turn(&self, carrying: Carrying) {
        if self.carrying.set(Rc::new(carrying)).is_ok()
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }

    /// The tunnel, if it is one by now.
    pub(crate) fn is_turned(&self) -> Option<&Rc<Carrying>> {
        self.carrying.get()
    }

    /// Waits for it. One waiter at a time.
    pub(crate) async fn turned(&self) -> Rc<Carrying> {
        std::future::poll_fn(|cx| match self.carrying.get() {
            Some(carrying) => Poll::Ready(Rc::clone(carrying)),
            None => {
                self.waiting.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// Waits for the end of a tunnel on which nothing moves. To be polled where it is one.
    pub(crate) async fn idle(&self) {
        self.turned().await.idle().await;
    }
}
