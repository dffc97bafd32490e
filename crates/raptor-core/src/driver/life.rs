//! The life of a connection: the task that drives it, and whether it has ended.

use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Ends its task when dropped.
pub(super) struct Life {
    task: AbortHandle,
    closed: watch::Sender<bool>,
}

/// Tells so however the future that holds it ends.
struct TellsTheEnd(watch::Sender<bool>);

impl Drop for TellsTheEnd {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl Life {
    /// Starts `driver` on a task of its own.
    #[cfg(feature = "driver-redis")]
    pub(super) fn start(driver: impl Future<Output = ()> + Send + 'static) -> Self {
        let closed = watch::Sender::new(false);
        Self { task: Self::until_the_end(&closed, driver), closed }
    }

    /// That of a `task` which runs already; it is over when `ended` is.
    #[cfg(feature = "driver-fred")]
    pub(super) fn of(task: AbortHandle, ended: impl Future<Output = ()> + Send + 'static) -> Self {
        let closed = watch::Sender::new(false);
        Self::until_the_end(&closed, ended);
        Self { task, closed }
    }

    fn until_the_end(
        closed: &watch::Sender<bool>,
        life: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let end = TellsTheEnd(closed.clone());
        let task = tokio::spawn(async move {
            let _end = end;
            life.await;
        });
        task.abort_handle()
    }

    pub(super) async fn wait_closed(&self) {
        // The sender is ours, so this cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Known at once, so that nothing is handed to a connection that is being ended.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        self.task.abort();
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.task.abort();
    }
}
