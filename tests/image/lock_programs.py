"""Programs that take byte-range locks in a client, as text with a place for the path."""

# Holds a lock until the file /tmp/release is there; says so when it has it.
HOLD = """rm -f /tmp/release; python3 - <<'EOF'
import fcntl, os, time
with open({path!r}, "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    while not os.path.exists("/tmp/release"):
        time.sleep(0.05)
EOF"""
# Tries for a minute, or once; says after how many seconds it had the lock.
TRY = """python3 - <<'EOF'
import fcntl, sys, time
begun = time.monotonic()
with open({path!r}, "r+b") as file:
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print("got it after", round(time.monotonic() - begun, 2))
            sys.exit(0)
        except OSError as error:
            if time.monotonic() - begun > {wait_s}:
                sys.exit(str(error))
        time.sleep(0.05)
EOF"""
