//! Many callers at once.

use std::time::Duration;

use anyhow::Result;
use raptor_ratelimit::{AcquireOptions, Limit};

use crate::rig::{Rig, subject};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acceptance_4_64_tasks_of_20_get_exactly_100() -> Result<()> {
    let rig = Rig::start().await?;
    let limit = Limit::strict(100, Duration::from_secs(600))?;
    let before = rig.script_calls().await?;
    let tasks: Vec<tokio::task::JoinHandle<raptor_core::Result<u32>>> = (0..64)
        .map(|_| {
            let (service, limits) = (rig.service.clone(), [limit.clone()]);
            tokio::spawn(async move {
                let mut admitted = 0_u32;
                for _ in 0..20 {
                    let options = AcquireOptions::default();
                    let decision = service.acquire(&subject(), &limits, &options).await?;
                    admitted += u32::from(decision.is_allowed());
                }
                raptor_core::Result::<u32>::Ok(admitted)
            })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await??;
    }
    assert_eq!(admitted, 100);
    let calls = rig.script_calls().await? - before;
    assert!(calls <= 64 * 20 / 2, "they rode together: {calls} calls");
    Ok(())
}
