//! What every store has to do, run against each of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use caudal_blocks::store::{FileStore, Retrying};
use caudal_blocks::{
    BlockError, Store, StoreError, delete_pack, list_packs, open_store, put_pack, read_footer, verify_pack,
};
use futures::future::join_all;

use crate::faulty::Faulty;
use crate::support::{Random, eager, joined, memory_store, pack_of, runtime};

async fn whole(store: &dyn Store) {
    ranges(store).await;
    creates_only(store).await;
    one_of_many_writers_wins(store).await;
    heads_deletes_lists(store).await;
    odd_objects(store).await;
    packs(store).await;
}

async fn ranges(store: &dyn Store) {
    let data = Random(1).bytes(10_000);
    let chunks: Vec<Bytes> = data.chunks(333).map(Bytes::copy_from_slice).collect();
    store.put("ranges/object", &chunks).await.unwrap();
    for (start, end) in [
        (0, 10_000),
        (0, 1),
        (9_999, 10_000),
        (333, 666),
        (5_000, 20_000),
        (9_999, u64::MAX / 2),
    ] {
        let got = store.get_range("ranges/object", start..end).await.unwrap();
        assert_eq!(
            got,
            data[start as usize..end.min(10_000) as usize],
            "{start}..{end}"
        );
    }
    for start in [10_000, 10_001, 1 << 40] {
        let beyond = store.get_range("ranges/object", start..start + 10).await;
        assert!(matches!(beyond, Err(StoreError::Range(_))), "{start}: {beyond:?}");
    }
    for piece in [1000, 2500, 3000, 9_999, 10_000, 50_000] {
        let pieces = store.get_pieces("ranges/object", 0..10_000, piece).await.unwrap();
        assert_eq!(pieces.len(), 10_000usize.div_ceil(piece));
        assert!(pieces.iter().rev().skip(1).all(|p| p.len() == piece));
        assert_eq!(joined(&pieces), data);
    }
    let absent = store.get_range("ranges/absent", 0..10).await;
    assert!(matches!(absent, Err(StoreError::NotFound(_))), "{absent:?}");
}

async fn creates_only(store: &dyn Store) {
    store
        .put("create/object", &[Bytes::from_static(b"first")])
        .await
        .unwrap();
    let again = store.put("create/object", &[Bytes::from_static(b"second")]).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists(_))), "{again:?}");
    assert_eq!(store.get_range("create/object", 0..100).await.unwrap(), "first");
}

async fn one_of_many_writers_wins(store: &dyn Store) {
    let contents: Vec<[Bytes; 2]> = (0..6u8)
        .map(|n| [Bytes::from(vec![n; 3000 + n as usize]), Bytes::from(vec![n; 10])])
        .collect();
    let results = join_all(contents.iter().map(|chunks| store.put("race/object", chunks))).await;
    let found = store.get_range("race/object", 0..10_000).await.unwrap();
    let winners: Vec<usize> = (0..6).filter(|n| results[*n].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert_eq!(found, joined(&contents[winners[0]]));
    assert!(
        results
            .iter()
            .all(|r| matches!(r, Ok(()) | Err(StoreError::AlreadyExists(_)))),
        "{results:?}"
    );
}

async fn heads_deletes_lists(store: &dyn Store) {
    for key in ["list/a", "list/deep/er/b", "list/c", "listing/d", "other"] {
        store.put(key, &[Bytes::from(key)]).await.unwrap();
    }
    let info = store.head("list/deep/er/b").await.unwrap();
    assert_eq!((info.key.as_str(), info.bytes), ("list/deep/er/b", 14));
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!((info.modified_s - now_s).abs() < 120.0, "{}", info.modified_s);
    let keys = |found: Vec<caudal_blocks::ObjectInfo>| -> BTreeSet<String> {
        found.into_iter().map(|i| i.key).collect()
    };
    let all = keys(store.list("list").await.unwrap());
    assert_eq!(
        all,
        ["list/a", "list/c", "list/deep/er/b"].map(str::to_owned).into()
    );
    assert!(store.list("nothing/here").await.unwrap().is_empty());
    for _ in 0..2 {
        store.delete("list/a").await.unwrap();
    }
    assert!(matches!(store.head("list/a").await, Err(StoreError::NotFound(_))));
    assert_eq!(keys(store.list("list").await.unwrap()).len(), 2);
    store
        .put("list/a", &[Bytes::from_static(b"a name that was freed")])
        .await
        .unwrap();
}

async fn odd_objects(store: &dyn Store) {
    store.put("odd/empty", &[]).await.unwrap();
    assert_eq!(store.head("odd/empty").await.unwrap().bytes, 0);
    assert!(matches!(
        store.get_range("odd/empty", 0..10).await,
        Err(StoreError::Range(_))
    ));
    let many: Vec<Bytes> = (0..3000u32)
        .map(|n| Bytes::copy_from_slice(&n.to_le_bytes()))
        .collect();
    store.put("odd/many", &many).await.unwrap();
    assert_eq!(
        store.get_range("odd/many", 0..20_000).await.unwrap(),
        joined(&many)
    );
}

async fn packs(store: &dyn Store) {
    let data = Random(2).bytes(700_000);
    let pack = pack_of((3 << 40) | 0x99, &data);
    put_pack(store, &pack).await.unwrap();
    assert_eq!(
        store.head("packs/99/0000030000000099").await.unwrap().bytes,
        pack.bytes
    );
    let footer = read_footer(store, pack.id).await.unwrap();
    assert_eq!((footer.lsn, footer.payload_bytes), (pack.id, 700_000));
    assert_eq!(footer.entries, pack.entries);
    assert_eq!(verify_pack(store, pack.id).await.unwrap(), footer);
    let listed = list_packs(store).await.unwrap();
    assert_eq!(
        listed.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>(),
        [(pack.id, pack.bytes)]
    );
    let again = put_pack(store, &pack_of(pack.id, b"another one")).await;
    assert!(
        matches!(again, Err(BlockError::Store(StoreError::AlreadyExists(_)))),
        "{again:?}"
    );
    delete_pack(store, pack.id).await.unwrap();
    delete_pack(store, pack.id).await.unwrap();
    assert!(list_packs(store).await.unwrap().is_empty());
}

#[test]
fn directory() {
    let dir = tempfile::tempdir().unwrap();
    let one = dir.path().join("new/one");
    let missing = FileStore::open(&one, 1).err().unwrap();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    std::fs::create_dir_all(&one).unwrap();
    let store = FileStore::open(&one, 1).unwrap();
    runtime().block_on(whole(&store));
    let left = std::fs::read_dir(dir.path().join("new/one/.incoming"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "temporary files stay behind");
}

#[test]
fn directory_by_its_url() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_store(&format!("file://{}", dir.path().display()), &HashMap::new()).unwrap();
    runtime().block_on(whole(store.as_ref()));
    let stats = store.stats().unwrap();
    assert!(stats.puts.load(std::sync::atomic::Ordering::Relaxed) > 10);
}

#[test]
fn memory() {
    runtime().block_on(whole(memory_store().as_ref()));
}

/// The whole contract holds over a store that loses a fifth of all requests and a fifth of all replies.
#[test]
fn faulty_with_retries() {
    let rt = runtime();
    for seed in 0..8 {
        let faulty = Faulty::by_chance(memory_store(), 20, seed);
        rt.block_on(whole(&Retrying::new(faulty, eager())));
    }
}

#[test]
fn slow_directory_with_retries() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = Faulty::by_chance(Arc::new(FileStore::open(dir.path(), 1).unwrap()), 20, 3);
    *faulty.latency.lock() = std::time::Duration::from_millis(1);
    runtime().block_on(whole(&Retrying::new(faulty, eager())));
}

/// `CAUDAL_TEST_AZURE` holds options as JSON, and the key "url": az://CONTAINER, a container that exists.
#[test]
fn azure() {
    let Ok(raw) = std::env::var("CAUDAL_TEST_AZURE") else {
        println!("skipped: CAUDAL_TEST_AZURE is not set");
        return;
    };
    let mut options = flat_json(&raw);
    let url = options.remove("url").expect("url");
    let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let store = open_store(&format!("{url}/contract-{unique}"), &options).unwrap();
    let rt = runtime();
    rt.block_on(whole(store.as_ref()));
    let faulty = Faulty::by_chance(
        open_store(&format!("{url}/faulty-{unique}"), &options).unwrap(),
        20,
        5,
    );
    rt.block_on(whole(&Retrying::new(faulty, eager())));
    rt.block_on(missing_container(&options));
    rt.block_on(wrong_key(&url, &options));
}

async fn missing_container(options: &HashMap<String, String>) {
    let store = open_store("az://there-is-no-such-container", options).unwrap();
    let put = store.put("a", &[Bytes::from_static(b"a")]).await;
    // Somebody has to make it: no answer about the object.
    assert!(matches!(put, Err(StoreError::Denied { .. })), "{put:?}");
}

async fn wrong_key(url: &str, options: &HashMap<String, String>) {
    let mut options = options.clone();
    options.insert(
        "azure_storage_account_key".to_owned(),
        "bm90IHRoZSBrZXk=".to_owned(),
    );
    let store = open_store(url, &options).unwrap();
    let got = store.get_range("a", 0..10).await;
    assert!(matches!(got, Err(StoreError::Denied { .. })), "{got:?}");
    assert!(
        !got.unwrap_err().to_string().contains("bm90IHRoZSBrZXk"),
        "a message holds the key"
    );
}

/// Enough of JSON for an object of strings without escapes.
fn flat_json(raw: &str) -> HashMap<String, String> {
    let parts: Vec<&str> = raw.split('"').collect();
    parts[1..]
        .chunks_exact(4)
        .map(|p| (p[0].to_owned(), p[2].to_owned()))
        .collect()
}
