"""What the Redis server does in one step each, so that no other client comes in between.

A value lies under `<prefix><kind>:<name>`, who computes it under `<prefix>claim:<name>`. The sorted set
`<prefix>used` has "kind:name:bytes" by the time of its last use, in seconds, and the hash `<prefix>totals` sums
of it: entries, bytes and evictions of each kind. The server's clock counts.
"""

from __future__ import annotations

_STAMP = """
local function stamp()
  local time = redis.call('TIME')
  return time[1] .. '.' .. string.format('%06d', time[2])
end
"""

_FORGET = """
local function forget(used, totals, prefix, member, field)
  local kind, name, size = string.match(member, '^([^:]*):([^:]*):(%d+)$')
  if redis.call('ZREM', used, member) == 0 then return end
  redis.call('UNLINK', prefix .. kind .. ':' .. name)
  redis.call('HINCRBY', totals, kind .. ':entries', -1)
  redis.call('HINCRBY', totals, kind .. ':bytes', -size)
  redis.call('HINCRBY', totals, 'bytes', -size)
  redis.call('HINCRBY', totals, kind .. ':' .. field, 1)
end
"""

PUT = (
    _STAMP
    + _FORGET
    + """
local prefix, kind, name, value = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local ttl, limit, owner, overhead = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local used, totals, claim = prefix .. 'used', prefix .. 'totals', prefix .. 'claim:' .. name
local now, size = stamp(), #value + overhead
for _, member in ipairs(redis.call('ZRANGEBYSCORE', used, '-inf', tonumber(now) - ttl - 1, 'LIMIT', 0, 64)) do
  forget(used, totals, prefix, member, 'expired')
end
local before = redis.call('STRLEN', prefix .. kind .. ':' .. name)
if before > 0 and before ~= #value then
  forget(used, totals, prefix, kind .. ':' .. name .. ':' .. (before + overhead), 'replaced')
end
redis.call('SET', prefix .. kind .. ':' .. name, value, 'EX', ttl)
if redis.call('ZADD', used, now, kind .. ':' .. name .. ':' .. size) == 1 then
  redis.call('HINCRBY', totals, kind .. ':entries', 1)
  redis.call('HINCRBY', totals, kind .. ':bytes', size)
  redis.call('HINCRBY', totals, 'bytes', size)
end
if redis.call('GET', claim) == owner then redis.call('UNLINK', claim) end
while tonumber(redis.call('HGET', totals, 'bytes')) > limit do
  local oldest = redis.call('ZRANGE', used, 0, 0)[1]
  if not oldest then break end
  forget(used, totals, prefix, oldest, 'evicted')
end
return 1
"""
)
"""Keeps a value, ends the claim on it, and makes room, the least recently used going first."""

DROP = (
    _FORGET
    + """
local prefix, overhead = ARGV[1], tonumber(ARGV[2])
for place = 3, #ARGV do
  local size = redis.call('STRLEN', ARGV[place]) + overhead
  forget(prefix .. 'used', prefix .. 'totals', prefix, string.sub(ARGV[place], #prefix + 1) .. ':' .. size, 'dropped')
  redis.call('UNLINK', ARGV[place])
end
return 1
"""
)
"""Removes values by their whole names."""

TOUCH = (
    _STAMP
    + """
local now = stamp()
for place = 3, #ARGV do
  local kind, name = string.match(ARGV[place], '^([^:]*):([^:]*):')
  redis.call('EXPIRE', ARGV[1] .. kind .. ':' .. name, ARGV[2])
  redis.call('ZADD', ARGV[1] .. 'used', 'XX', now, ARGV[place])
end
return 1
"""
)
"""Values were used: they stay longer."""

CLAIM = """
local value = redis.call('GET', ARGV[1] .. ARGV[2] .. ':' .. ARGV[3])
if value then return value end
if redis.call('SET', ARGV[1] .. 'claim:' .. ARGV[3], ARGV[4], 'NX', 'PX', ARGV[5]) then return 1 end
return 0
"""
"""The value where it is there; else 1 where the claim is now the caller's, 0 where it is another's."""

RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""

RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0
"""
