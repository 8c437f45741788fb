-- wrk script of bench.py: PUT of new names, or GET of the names k-0 .. k-(n-1).
local method, size, names = os.getenv("BENCH_METHOD"), tonumber(os.getenv("BENCH_SIZE")), tonumber(os.getenv("BENCH_NAMES"))
local next_id = 0
local count = 0
local body = nil

function setup(thread)
    thread:set("id", next_id)
    next_id = next_id + 1
end

function init(args)
    math.randomseed(id + 1)
    if method == "PUT" then
        local unit = {}
        for i = 1, 4096 do
            unit[i] = string.char(math.random(0, 255))
        end
        body = string.rep(table.concat(unit), math.ceil(size / 4096)):sub(1, size)
    end
end

function request()
    count = count + 1
    if method == "PUT" then
        return wrk.format("PUT", "/bucket/" .. os.getenv("BENCH_RUN") .. "-" .. id .. "-" .. count, nil, body)
    end
    return wrk.format("GET", "/bucket/k-" .. math.random(0, names - 1))
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("RESULT %d %f %d %d %d\n", summary.requests, summary.duration / 1e6,
        latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
