use super::*;

fn key(block: u32) -> BlockKey {
    BlockKey { pack: 1, block }
}

/// Offers a block and waits until it is written, or was not.
async fn offered(l2: &L2, block: u32) -> bool {
    let payload = Bytes::from(vec![block as u8; 1000]);
    l2.insert(key(block), payload);
    while l2.shared.pending.contains(key(block)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    l2.get(key(block)).await.is_some()
}

#[test]
fn an_engine_that_panics_is_an_error_and_is_replaced() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    rt.block_on(async {
        let l2 = L2::open(
            rt.handle(),
            dir.path(),
            16 << 20,
            1 << 20,
            [7; 16],
            Arc::default(),
        )
        .await
        .unwrap();
        assert!(offered(&l2, 1).await);
        let broke = l2.shared.unbroken(async { panic!("as its locks do") }).await;
        assert!(matches!(broke, Err::<(), _>(BlockError::Cache(_))));
        assert!(l2.shared.worn.load(Relaxed));
        l2.clear().await.unwrap();
        assert!(!l2.shared.worn.load(Relaxed));
        assert!(l2.get(key(1)).await.is_none());
        assert!(offered(&l2, 2).await);
        l2.close().await.unwrap();
    });
}

#[test]
fn a_worn_engine_is_replaced_as_soon_as_the_disk_takes_data() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    rt.block_on(async {
        let l2 = L2::open(
            rt.handle(),
            dir.path(),
            16 << 20,
            1 << 20,
            [7; 16],
            Arc::default(),
        )
        .await
        .unwrap();
        assert!(offered(&l2, 1).await);
        l2.shared.worn.store(true, Relaxed);
        // A directory in the probe's place stands for a disk that takes nothing.
        let probe = dir.path().join("probe");
        std::fs::create_dir(&probe).unwrap();
        assert!(l2.clear().await.is_err());
        assert!(!offered(&l2, 2).await);
        assert!(l2.stats().off.unwrap().contains("takes no blocks"));
        assert_eq!(l2.stats().errors, 1);
        std::fs::remove_dir(&probe).unwrap();
        l2.shared.writes.end_pause();
        assert!(offered(&l2, 3).await);
        assert!(!l2.shared.worn.load(Relaxed));
        assert_eq!((l2.stats().off, l2.stats().bytes), (None, 1000));
        // The directory was emptied: nothing of the old engine is taken for a block.
        assert!(l2.get(key(1)).await.is_none());
        l2.close().await.unwrap();
    });
}
