-- Stands in front of every command (scripts.py): the words they share. `now()` comes before it.

local P = KEYS[1] -- the shard's prefix, "q:{q00}:"

-- States of a key in J.
local READY, LEASED, DELAYED = 0, 1, 2

-- A key's record in J: fence, state, wanted version, attempts, stale, class. 22 bytes.
local JOB = '<dBdHHB'
local COUNT_MAX = 65534 -- attempts and stale are u16 and stop rising here

local NOEPOCH = 'NOEPOCH the queue does not live in this epoch'

-- Is the caller of another life of the queue, or the queue empty after a loss?
local function is_other_epoch()
  return redis.call('GET', P .. 'epoch') ~= ARGV[1]
end

-- Returns key -> job of those `keys` that J knows.
local function read(keys)
  local jobs = {}
  if #keys == 0 then
    return jobs
  end
  for i, packed in ipairs(redis.call('HMGET', P .. 'J', unpack(keys))) do
    if packed then
      local job = {}
      job.fence, job.state, job.version, job.attempts, job.stale, job.class = struct.unpack(JOB, packed)
      jobs[keys[i]] = job
    end
  end
  return jobs
end

-- Writes the records of key -> job.
local function save(jobs)
  local fields = {}
  for key, job in pairs(jobs) do
    fields[#fields + 1] = key
    fields[#fields + 1] = struct.pack(JOB, job.fence, job.state, job.version, job.attempts, job.stale, job.class)
  end
  if #fields > 0 then
    redis.call('HSET', P .. 'J', unpack(fields))
  end
end

-- Runs a command that takes many arguments, unless there are none.
local function batch(command, name, arguments)
  if #arguments > 0 then
    redis.call(command, P .. name, unpack(arguments))
  end
end

-- A key is its flow (tenant and target, 32 bytes) and its resource (16 bytes).
local function flow_of(key)
  return string.sub(key, 1, 32)
end

-- The ready list of a flow and a class. Its name says the flow, so it holds resources only: 32 bytes less for each.
local function ready_list(flow, class)
  return P .. 'f:' .. flow .. ':' .. class
end

-- Does this flow have no ready key? Then, and only then, it is not in the ring T.
local function is_idle(flow)
  return redis.call('EXISTS', ready_list(flow, 0), ready_list(flow, 1), ready_list(flow, 2)) == 0
end

-- Makes `job` ready and notes its place in `line`, which `form` writes.
local function join(line, key, job)
  job.state = READY
  local flow = flow_of(key)
  local name = ready_list(flow, job.class)
  local list = line[name]
  if not list then
    list = { flow = flow, name = name, resources = {} }
    line[name] = list
    line[#line + 1] = list -- in order of arrival, so that flows enter the ring in that order
  end
  list.resources[#list.resources + 1] = string.sub(key, 33)
end

local function reversed(items)
  local turned = {}
  for i = #items, 1, -1 do
    turned[#turned + 1] = items[i]
  end
  return turned
end

-- Writes the keys of `line` to their lists, at the back (RPUSH) or the front (LPUSH), and their flows to the ring.
local function form(line, push)
  for _, list in ipairs(line) do
    if is_idle(list.flow) then
      redis.call('RPUSH', P .. 'T', list.flow)
    end
    redis.call(push, list.name, unpack(push == 'LPUSH' and reversed(list.resources) or list.resources))
  end
end

-- Adds to a counter of `stat`.
local function count(name, n)
  if n > 0 then
    redis.call('HINCRBY', P .. 'stat', name, n)
  end
end

local function is_ring_empty()
  return redis.call('EXISTS', P .. 'T') == 0
end

-- Wakes the claimers on the edge from nothing ready to something ready; between edges `turn` tells the next wake-up.
local function wake_if(was_empty)
  if was_empty and not is_ring_empty() then
    redis.call('PUBLISH', P .. 'wake', '')
  end
end
