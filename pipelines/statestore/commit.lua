-- Applies one commit whole, once, and only for the owner.
--
-- KEYS  1 meta, 2 ring, 3 seg
-- ARGV  1 token, 2 sequence, 3 sequence - 1, 4 from-offset, 5 to-offset, 6 meta, 7 delta,
--       8 new ring_first, 9 deltas to keep ("" = all), 10 how many buckets to remove,
--       then their indexes, then index and value of each bucket to write
-- Answer: {verdict, stored sequence, stored offset}; verdict is applied, done, token, sequence or offset.
--
-- Sequences and offsets are strings and are only ever compared for equality.
local meta, ring, seg = KEYS[1], KEYS[2], KEYS[3]
local held = redis.call('HMGET', meta, 'token', 'seq', 'offset')
local token, seq, offset = held[1], held[2], held[3]

local function answer(verdict)
  return { verdict, seq or '', offset or '' }
end

if not token or token ~= ARGV[1] then
  return answer('token')
end
if seq and seq == ARGV[2] and offset == ARGV[5] then
  return answer('done')
end
if seq then
  if seq ~= ARGV[3] then
    return answer('sequence')
  end
  if offset ~= ARGV[4] then
    return answer('offset')
  end
elseif ARGV[2] ~= '1' then
  return answer('sequence')
end
-- A key of a wrong type must fail here, before the first write.
redis.call('LLEN', ring)
redis.call('HLEN', seg)

-- The first write is one that Redis refuses when out of memory: refused later,
-- after a DEL, it would leave half a commit.
redis.call('HSET', meta, 'seq', ARGV[2], 'offset', ARGV[5], 'meta', ARGV[6])
if not seq then
  -- What a lost meta left behind belongs to no state.
  redis.call('DEL', ring, seg)
  redis.call('HSET', meta, 'ring_first', ARGV[2])
end

redis.call('RPUSH', ring, ARGV[7])
-- Trimming by what stays at the new end needs no arithmetic on sequences.
local keep = ARGV[9]
if keep ~= '' and redis.call('LLEN', ring) > tonumber(keep) then
  if keep == '0' then
    redis.call('DEL', ring)
  else
    redis.call('LTRIM', ring, '-' .. keep, '-1')
  end
  redis.call('HSET', meta, 'ring_first', ARGV[8])
end

-- unpack fails on thousands of values; 1,000 are safe, and even, so that index
-- and value stay together.
local function chunks(command, first, last)
  for i = first, last, 1000 do
    redis.call(command, seg, unpack(ARGV, i, math.min(i + 999, last)))
  end
end
local removed = tonumber(ARGV[10])
chunks('HDEL', 11, 10 + removed)
chunks('HSET', 11 + removed, #ARGV)

return answer('applied')
