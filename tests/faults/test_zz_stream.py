import time, pytest, json
from tests.jetstream import ask_jetstream, create_stream
from tests.waiting import wait_until

def state(d):
    try: return ask_jetstream(d.nats_url, f"STREAM.INFO.{d.stream}").get("state") or {}
    except Exception as e: return {"e": repr(e)}
T0=time.time()
def show(d, c, what):
    print(f"{time.time()-T0:5.1f} {what}", c.counted("events_captured"), c.counted("events_published"), c.reasons(), c.get("/health").text, {k:v for k,v in state(d).items() if k in ("messages","first_seq","last_seq","e")}, flush=True)
def watch(d, c, s, until=None):
    last=None; t=time.time()
    while time.time()-t<s:
        c.run_for(0.1)
        r = [x.split(": ",1)[-1] for x in c.reasons()]
        if r!=last: show(d,c,"!"); last=r
        if until and until(): break
def end(d,c):
    for e in ("nats.disconnected","publish.retrying","publish.recovered","lane.failed", "lane.stopped", "nats.waiting"):
        print(e, len(c.log(e)), [ {k:v for k,v in l.items() if k in("kind","error","retry_in_s","collection")} for l in c.log(e)[:4]])
def test_purge_window(deploy, nats_server):
    d = deploy(make_stream=False, CHECKPOINT_INTERVAL_S="60")
    create_stream(d.nats_url, d.stream, duplicate_window_s=15)
    c = d.start_ready()
    with d.writer(seed=1, pause_s=0.01) as w:
        w.wait_for_events(100)
        wait_until(lambda: c.counted("events_published")>90, timeout_s=10, what="x")
        c.kill()
    print(ask_jetstream(d.nats_url, f"STREAM.PURGE.{d.stream}"))
    c = d.start()
    c.wait_for_log("service.started")
    watch(d, c, 30, until=lambda: c.counted("events_published")>=w.events)
    show(d,c,"end")
    print(str(d.oracle.report(timeout_s=5))[:500])
    end(d,c)
def test_js_off(deploy, start_own_nats):
    s = start_own_nats()
    d = deploy(nats_server=s)
    c = d.start_ready()
    with d.writer(seed=1, pause_s=0.01) as w:
        w.wait_for_events(100)
        s.stop()
        s = start_own_nats(s.data_dir, port=s.port, jetstream=False)
        watch(d,c,15)
        s.stop()
        s = start_own_nats(s.data_dir, port=s.port)
        t=time.time(); c.wait_ready(timeout_s=60); print("ready after", time.time()-t)
        watch(d,c,3)
    print(str(d.oracle.report(timeout_s=15))[:500])
    end(d,c)
def test_per_subject_fresh(deploy, nats_server):
    d = deploy(make_stream=False)
    r=ask_jetstream(d.nats_url, f"STREAM.CREATE.{d.stream}", {"name": d.stream, "subjects":[d.stream+".>"], "discard":"new","max_msgs_per_subject":1,"discard_new_per_subject":True})
    print(r)
    c = d.start_ready()
    for i in range(3): 
        d.db["users"].insert_many([{"n":n} for n in range(10)])
        watch(d,c,2)
    end(d,c)
PERMS='''
accounts: {{ A: {{ jetstream: enabled, users: [ {{user: op, password: op}}, {{user: mnc, password: mnc, permissions: {{ publish: {{ deny: [{deny}] }} }} }} ] }} }}
'''
@pytest.mark.parametrize("deny", ['"$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.CREATE.>"', '"*_position.>"', '"*.movies.>"','"$JS.API.STREAM.MSG.GET.>"','"$JS.API.STREAM.INFO.>"'])
def test_denied(deploy, start_own_nats, deny, monkeypatch):
    s = start_own_nats(extra_config=PERMS.format(deny=deny))
    op=f"nats://op:op@127.0.0.1:{s.port}"
    class S: url=op
    d = deploy(nats_server=S, make_stream=True, NATS_SERVER_URL=f"nats://mnc:mnc@127.0.0.1:{s.port}", NATS_ACK_TIMEOUT_S="1")
    c = d.start()
    c.wait_for_log("service.started")
    watch(d,c,6)
    with d.writer(seed=1, pause_s=0.01) as w:
        w.wait_for_events(100)
        watch(d,c,12)
    end(d,c)
    print(c._log_path.read_text()[-1500:])
