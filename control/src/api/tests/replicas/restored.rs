//! Backups of an etcd, taken and put back by the command while replicas run.

use super::*;

/// Runs `bellhop-control` with these arguments; how it ended.
async fn command(args: &[&str]) -> String {
    let args: Vec<_> = ["bellhop-control"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
    let ended = tokio::task::spawn_blocking(|| crate::command::main_from(args)).await.unwrap();
    format!("{ended:?}")
}

#[tokio::test]
async fn a_backup_of_etcd_is_put_back_under_running_replicas_which_all_show_it_in_a_new_epoch() {
    let Some(etcd) = Etcd::start().await else { return };
    let (one, two) = (replica(&etcd).await, replica(&etcd).await);
    one.apply(&service("route", "10.1.0.1")).await;
    one.apply(&sandbox("a", &["route"], "10.0.0.7")).await;
    let store = format!("--store=etcd://{}/test", etcd.endpoint().trim_start_matches("http://"));
    let file = etcd.path("bellhop.backup").display().to_string();
    let (done, failed, usage) = (
        format!("{:?}", std::process::ExitCode::SUCCESS),
        format!("{:?}", std::process::ExitCode::from(1)),
        format!("{:?}", std::process::ExitCode::from(64)),
    );
    assert_eq!(command(&["backup", &store, &file]).await, done);
    two.apply(&sandbox("later", &["route"], "10.0.0.8")).await;
    let (_, token) = one.watch("").await.until_synced().await;

    assert_eq!(command(&["restore", &store, &file]).await, failed, "it is not empty");
    assert_eq!(command(&["restore", "--store=etcd://nowhere", &file]).await, usage);
    assert_eq!(command(&["restore", "--etcd-user=a", "--data-dir=/nowhere", &file]).await, usage);
    assert_eq!(two.get("/v1/namespaces/default/sandboxes/later").await.status, StatusCode::OK);
    assert_eq!(command(&["restore", "--replace", &store, &file]).await, done);
    for server in [&one, &two] {
        until("what was put back is shown", async || {
            server.get("/v1/namespaces/default/sandboxes/later").await.status == StatusCode::NOT_FOUND
        })
        .await;
        assert_eq!(server.get("/v1/namespaces/default/sandboxes/a").await.status, StatusCode::OK);
        let listed = server.watch(&format!("&since={token}")).await.until_synced().await.0;
        assert_eq!(listed, ["reset", "put service route", "put key a"]);
    }
    one.apply(&sandbox("b", &["route"], "10.0.0.9")).await;
    assert_eq!(two.explain("b", "route:8080").await, "10.0.0.9:8080");
    let three = replica(&etcd).await;
    assert_eq!(three.explain("b", "route:8080").await, "10.0.0.9:8080");
}
