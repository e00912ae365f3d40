"""The group of instances: who is in it, who leads it, and which collections each of them owns.

`mnc.raft` replicates a log of commands; `state` is what they add up to; `placement`, `membership`
and `formation` decide, and are pure; `node` drives them, with a disk and a network behind `ports`.
"""
