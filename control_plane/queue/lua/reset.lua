#!lua flags=allow-oom
-- Begins a new life of the queue, empty, unless this one or a later one has begun.
--
-- KEYS[1]  the shard's prefix, "q:{q00}:"
-- ARGV[1]  the new epoch
-- Returns  1 if this call began it, else 0.
--
-- The ring T names every flow that has ready lists, so nothing has to be searched for (no KEYS, no SCAN).
-- `fence` stays: fences rise over lives too, also when the host's clock was set back in between.

local current = tonumber(redis.call('GET', P .. 'epoch'))
if current and current >= tonumber(ARGV[1]) then
  return 0
end
for _, flow in ipairs(redis.call('LRANGE', P .. 'T', 0, -1)) do
  redis.call('UNLINK', ready_list(flow, 0), ready_list(flow, 1), ready_list(flow, 2))
end
redis.call('UNLINK', P .. 'J', P .. 'L', P .. 'D', P .. 'T', P .. 'stat')
redis.call('SET', P .. 'epoch', ARGV[1])
return 1
