#!lua flags=allow-oom
-- One round trip of a claimer: settle, extend, promote what is due, reap what expired, claim, tell the next wake-up.
--
-- KEYS[1]  the shard's prefix, "q:{q00}:"
-- ARGV[1]  epoch
-- ARGV[2]  want: claim at most so many keys (at most 256); -1: settle and extend only, more of this turn follows
-- ARGV[3]  how long a claimed or extended lease lasts, us
-- ARGV[4]  settles (at most 1000), each "<c48dBdd": key, fence, kind (0 DONE, 1 RETRY, 2 RELEASE), version, delay us
-- ARGV[5]  extends (at most 1000), each "<c48d": key, fence
-- Returns  {settled, extended, reaped, promoted, wake, claims}; or the error NOEPOCH.
--          settled, extended: a byte for each item, 1 = taken, 0 = lost (changed nothing);
--          wake: us until something can be claimed, 0 = ready keys remain, -1 = nothing is known;
--          claims: each "<c48ddHH": key, fence, version, attempt, stale.
--
-- allow-oom: a turn only moves keys and settling frees them; refused at maxmemory, a full queue could never drain.
-- Settles and extends go before the reaper: a lease past its time that nobody took over is still good.

if is_other_epoch() then
  return redis.error_reply(NOEPOCH)
end

local SETTLE, EXTEND, CLAIM = '<c48dBdd', '<c48d', '<c48ddHH'
local DONE, RETRY = 0, 1
local SWEEP = 256 -- due and expired keys handled in one turn; the rest come with the next, which is told to come at once

local back, front = {}, {} -- keys that become ready in this turn: last in line, first in line
local at = now()
local was_empty = is_ring_empty()

-- Only the lease that was granted last, while it is held, may change its key.
local function is_held(job, fence)
  return job and job.state == LEASED and job.fence == fence
end

-- DONE: the key goes, unless a newer version is wanted by now (dirty).
local function finish(item, job, changed, removed)
  if job.version > item.version then
    job.attempts, job.stale = 0, 0
    join(back, item.key, job)
    changed[item.key] = job
    count('dirty', 1)
  else
    removed[#removed + 1] = item.key
  end
end

-- RETRY: one attempt more. With a version, a newer wanted one is tried at once: its failure may be another.
local function retry(item, job, changed, delayed)
  job.attempts = math.min(job.attempts + 1, COUNT_MAX)
  if item.version > 0 and job.version > item.version then
    join(back, item.key, job)
  else
    job.state = DELAYED
    delayed[#delayed + 1] = at + item.delay
    delayed[#delayed + 1] = item.key
  end
  changed[item.key] = job
end

-- Returns the items of a blob and their keys.
local function parse(blob, layout)
  local items, keys, pos = {}, {}, 1
  while pos <= #blob do
    local item = {}
    if layout == SETTLE then
      item.key, item.fence, item.kind, item.version, item.delay, pos = struct.unpack(layout, blob, pos)
    else
      item.key, item.fence, pos = struct.unpack(layout, blob, pos)
    end
    items[#items + 1] = item
    keys[#keys + 1] = item.key
  end
  return items, keys
end

local function settle(blob)
  local items, keys = parse(blob, SETTLE)
  local jobs, changed, removed, delayed, ended, flags = read(keys), {}, {}, {}, {}, {}
  local counts = { [0] = 0, 0, 0 }
  for i, item in ipairs(items) do
    local job = jobs[item.key]
    if is_held(job, item.fence) then
      jobs[item.key] = nil -- a second settle of the same lease in this batch is late
      ended[#ended + 1] = item.key
      counts[item.kind] = counts[item.kind] + 1
      if item.kind == DONE then
        finish(item, job, changed, removed)
      elseif item.kind == RETRY then
        retry(item, job, changed, delayed)
      else
        join(front, item.key, job) -- never begun: it was first in line, and is so again
        changed[item.key] = job
      end
      flags[i] = '\1'
    else
      flags[i] = '\0'
    end
  end
  batch('ZREM', 'L', ended)
  batch('HDEL', 'J', removed)
  batch('ZADD', 'D', delayed)
  save(changed)
  count('done', counts[0])
  count('retried', counts[1])
  count('released', counts[2])
  count('fenced', #items - #ended)
  return table.concat(flags)
end

local function extend(blob, expiry)
  local items, keys = parse(blob, EXTEND)
  local jobs, leases, flags = read(keys), {}, {}
  for i, item in ipairs(items) do
    if is_held(jobs[item.key], item.fence) then
      leases[#leases + 1] = expiry
      leases[#leases + 1] = item.key
      flags[i] = '\1'
    else
      flags[i] = '\0'
    end
  end
  batch('ZADD', 'L', leases)
  return table.concat(flags)
end

-- Takes what is past its time out of D or L and returns it as keys, jobs.
local function take_past(zset)
  local keys = redis.call('ZRANGE', P .. zset, '-inf', at, 'BYSCORE', 'LIMIT', 0, SWEEP)
  batch('ZREM', zset, keys)
  return keys, read(keys)
end

local function promote()
  local keys, jobs = take_past('D')
  for _, key in ipairs(keys) do
    join(back, key, jobs[key])
  end
  save(jobs)
  return #keys
end

local function reap()
  local keys, jobs = take_past('L')
  for _, key in ipairs(keys) do
    local job = jobs[key]
    job.stale = math.min(job.stale + 1, COUNT_MAX)
    -- Older than all that wait, so first in line; but a key that fells its workers must not do so again and again at once.
    join(job.stale == 1 and front or back, key, job)
  end
  save(jobs)
  count('stale', #keys)
  return #keys
end

-- Takes at most `share` ready keys of the next flow in the ring, urgent classes first; the flow stays while it has more.
local function visit(share, keys)
  local flow = redis.call('LMOVE', P .. 'T', P .. 'T', 'LEFT', 'RIGHT')
  local names = { ready_list(flow, 0), ready_list(flow, 1), ready_list(flow, 2) }
  while share > 0 do
    local popped = redis.call('LMPOP', 3, names[1], names[2], names[3], 'LEFT', 'COUNT', share)
    if not popped then
      break
    end
    share = share - #popped[2]
    for _, resource in ipairs(popped[2]) do
      keys[#keys + 1] = flow .. resource
    end
  end
  if is_idle(flow) then
    redis.call('RPOP', P .. 'T') -- LMOVE has just put it there
  end
end

-- Returns up to `want` ready keys. Each round gives every flow the same share; where fewer are wanted than there are
-- flows, each in turn gives one, and the ring remembers whose turn is next. So no flow starves another.
local function pick(want)
  local keys = {}
  while #keys < want do
    local flows = redis.call('LLEN', P .. 'T')
    if flows == 0 then
      break
    end
    local share = math.max(1, math.floor((want - #keys) / flows))
    for _ = 1, math.min(flows, want - #keys) do
      visit(share, keys)
    end
  end
  return keys
end

local function claim(want, expiry)
  local keys = pick(want)
  local jobs, leases, claims = read(keys), {}, {}
  -- A hybrid clock: it rises even when the host's clock goes back, and goes on from the time when it was lost.
  local fence = math.max((tonumber(redis.call('GET', P .. 'fence')) or 0) + 1, at)
  for i, key in ipairs(keys) do
    local job = jobs[key]
    job.state, job.fence = LEASED, fence + i - 1
    leases[#leases + 1] = expiry
    leases[#leases + 1] = key
    claims[i] = struct.pack(CLAIM, key, job.fence, job.version, job.attempts + 1, job.stale)
  end
  if #keys > 0 then
    redis.call('SET', P .. 'fence', string.format('%.0f', fence + #keys - 1))
    batch('ZADD', 'L', leases)
    save(jobs)
    count('claimed', #keys)
  end
  return table.concat(claims)
end

local function next_wake()
  if not is_ring_empty() then
    return 0
  end
  local first
  for _, zset in ipairs({ 'L', 'D' }) do
    local score = redis.call('ZRANGE', P .. zset, 0, 0, 'WITHSCORES')[2]
    if score then
      first = math.min(first or math.huge, tonumber(score))
    end
  end
  return first and math.max(0, first - at) or -1
end

local want, expiry = tonumber(ARGV[2]), at + tonumber(ARGV[3])
local settled = settle(ARGV[4])
local extended = extend(ARGV[5], expiry)
local promoted, reaped, claims = 0, 0, ''
if want >= 0 then
  promoted, reaped = promote(), reap()
end
form(back, 'RPUSH')
form(front, 'LPUSH')
if want > 0 then
  claims = claim(want, expiry)
end
wake_if(was_empty)
return { settled, extended, reaped, promoted, next_wake(), claims }
