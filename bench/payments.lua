-- wrk's requests: PUT /send_payment with a new key each.
-- Arguments: `uniform` or `one-payee`, a part of the keys that no other run has, and the number of
-- accounts. Prints a line `result PAID FAILED PAYMENTS_PER_SECOND`.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local one_payee, run, accounts, head
local count = 0

function init(args)
  one_payee, run, accounts = args[1] == "one-payee", args[2], tonumber(args[3])
  math.randomseed(os.time() * 100 + number)
  -- Written out, because wrk.format() builds every header anew and costs as much as the rest.
  head = "PUT /send_payment HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
    .. "\r\nContent-Type: application/json\r\nContent-Length: "
end

function request()
  count = count + 1
  local from, to
  if one_payee then
    from, to = math.random(2, accounts), 1
  else
    from, to = math.random(accounts), math.random(accounts - 1)
    if to >= from then to = to + 1 end
  end
  local body = string.format('{"from":%d,"to":%d,"amount":1,"idempotency_key":"%s-%02d-%09d"}',
    from, to, run, number, count)
  return head .. #body .. "\r\n\r\n" .. body
end

function done(summary)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  local paid = summary.requests - errors.status
  print(string.format("result %d %d %d", paid, failed, paid / summary.duration * 1000000))
end
