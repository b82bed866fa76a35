#!lua flags=allow-oom
-- Takes permits out of a token bucket that all gateways share.
--
-- KEYS[1]  the bucket's prefix, "r:{<tenant>}:"
-- ARGV[1]  permits wanted, at least 1
-- ARGV[2]  permits that come each second, 1 to 100000
-- ARGV[3]  permits that are kept at most, 1 to 1000000
-- Returns  {permits granted, microseconds until there is one (0 if any was granted)}.
--
-- The level is counted in millionths of a permit and time in microseconds: all that counts are whole numbers below 2^53,
-- and nothing is ever rounded. A bucket that is not there is full; it expires when it would be. A clock that goes
-- back (a failover) brings nothing and counts from there on; one that jumps ahead brings a full bucket at most.
-- allow-oom: the size is bounded by the tenants, and a full Redis must not end every limit.

local PERMIT = 1000000
local BUCKET = '<dd' -- level, microsecond of the last look

local want, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full, at = burst * PERMIT, now()
local level = full
local packed = redis.call('GET', P .. 'bucket')
if packed then
  local last
  level, last = struct.unpack(BUCKET, packed)
  level = math.min(full, level + math.max(0, at - last) * rate)
end

local granted = math.min(want, math.floor(level / PERMIT))
level = level - granted * PERMIT
local full_in_ms = math.ceil((full - level) / rate / 1000) + 1000
redis.call('SET', P .. 'bucket', struct.pack(BUCKET, level, at), 'PX', full_in_ms)

local wait = 0
if granted == 0 then
  wait = math.ceil((PERMIT - level) / rate)
end
return { granted, wait }
