#!lua flags=no-writes
-- How much there is, in constant time.
--
-- KEYS[1]  the shard's prefix, "q:{q00}:"
-- ARGV[1]  epoch
-- Returns  {keys, leased, delayed, flows with ready keys, {counter, value, ...}}; or the error NOEPOCH.

if is_other_epoch() then
  return redis.error_reply(NOEPOCH)
end

return {
  redis.call('HLEN', P .. 'J'),
  redis.call('ZCARD', P .. 'L'),
  redis.call('ZCARD', P .. 'D'),
  redis.call('LLEN', P .. 'T'),
  redis.call('HGETALL', P .. 'stat'),
}
