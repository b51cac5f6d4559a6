# What is seen and done from outside: health, wait, events, pause, top, stats, update, filters of ps, inspect's types.
. "$LIB"
start=$(date +%s)

# -- health
healthy() { docker inspect -f '{{.State.Health.Status}}' "$1"; }
is() { [ "$(healthy "$1")" = "$2" ]; }
docker run -d --name sick --health-cmd 'echo out; echo err >&2; test -e /fine' --health-interval 1s \
    --health-timeout 5s --health-retries 2 minimal sleep 1000 > /dev/null
contains "a new container's health is starting" "(health: starting)" "$(docker ps --format '{{.Status}}' -f name=sick)"
equal "inspect says so" "starting" "$(healthy sick)"
eventually "failures make it unhealthy" is sick unhealthy
contains "ps shows that" "(unhealthy)" "$(docker ps --format '{{.Status}}' -f name=sick)"
equal "ps filters by health" "sick" "$(docker ps -f health=unhealthy --format '{{.Names}}')"
equal "and not by another" "" "$(docker ps -f health=healthy --format '{{.Names}}')"
docker inspect -f '{{.State.Health.FailingStreak}} {{(index .State.Health.Log 0).ExitCode}}
{{(index .State.Health.Log 0).Output}}' sick > seen
matches "failures in a row are counted" '^[2-9]' "$(head -1 seen)"
matches "the code of a check is kept" ' 1$' "$(head -1 seen)"
contains "its output is kept" "out" "$(sed 1d seen)"
contains "stderr too" "err" "$(sed 1d seen)"
docker exec sick touch /fine
eventually "a success makes it healthy" is sick healthy
equal "and the count is 0" "0" "$(docker inspect -f '{{.State.Health.FailingStreak}}' sick)"
contains "ps shows that it is healthy" "(healthy)" "$(docker ps --format '{{.Status}}' -f name=sick)"
equal "the test is in the configuration" '["CMD-SHELL","echo out; echo err \u003e\u00262; test -e /fine"]' \
    "$(docker inspect -f '{{json .Config.Healthcheck.Test}}' sick | sed 's/>/\\u003e/; s/&/\\u0026/')"
equal "the interval in nanoseconds" "1000000000" "$(docker inspect -f '{{json .Config.Healthcheck.Interval}}' sick)"
docker exec sick rm /fine
docker stop -t 0 sick > /dev/null
equal "what does not run is not healthy" "unhealthy" "$(healthy sick)"
docker start sick > /dev/null
equal "a start begins anew" "starting" "$(healthy sick)"
docker rm -f sick > /dev/null
docker run -d --name slow --health-cmd 'sleep 100' --health-interval 1s --health-timeout 1s --health-retries 1 \
    minimal sleep 1000 > /dev/null
eventually "a check that hangs fails" is slow unhealthy
docker inspect -f '{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}' slow > seen
contains "it is said why" "exceeded timeout (1s)" "$(cat seen)"
matches "its code is -1" "^-1 " "$(cat seen)"
docker rm -f slow > /dev/null
fails "--no-healthcheck and --health-cmd do not go together" 125 "conflicts" \
    docker run --no-healthcheck --health-cmd true minimal true
fails "a negative interval is refused" 125 "negative" docker run --health-cmd true --health-interval -1s minimal true

# -- pause
docker run -d --name box minimal sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done' > /dev/null
eventually "it counts" sh -c '[ -n "$(docker logs box)" ]'
equal "pause prints the name" "box" "$(docker pause box 2> /dev/null)"
contains "ps shows it" "(Paused)" "$(docker ps --format '{{.Status}}' -f name=box)"
equal "its state is paused" "paused" "$(docker inspect -f '{{.State.Status}}' box)"
equal "it still runs" "true true" "$(docker inspect -f '{{.State.Running}} {{.State.Paused}}' box)"
before=$(docker logs box | tail -1)
sleep 0.4
equal "nothing of it runs" "$before" "$(docker logs box | tail -1)"
fails "exec is refused" 1 "is paused" docker exec box true
fails "pause again is refused" 1 "already paused" docker pause box
fails "start is refused" 1 "paused" docker start box
fails "attach is refused" 1 "attach to a paused container" docker attach box
equal "ps filters by it" "box" "$(docker ps -f status=paused --format '{{.Names}}')"
equal "unpause prints the name" "box" "$(docker unpause box)"
eventually "it counts on" sh -c "[ \"\$(docker logs box | tail -1)\" -gt $((before + 2)) ]"
fails "unpause again is refused" 1 "is not paused" docker unpause box
docker pause box > /dev/null 2>&1
succeeds "a paused container can be stopped" docker stop -t 0 box
contains "and has ended then" "Exited (137)" "$(docker ps -a --format '{{.Status}}' -f name=box)"
fails "one that does not run cannot be paused" 1 "is not running" docker pause box
docker start box > /dev/null

# -- top and stats
matches "top has the columns of ps -ef" '^UID +PID +PPID +C +STIME +TTY +TIME +CMD$' "$(docker top box)"
contains "top shows the command" "sh -c i=0" "$(docker top box)"
matches "top takes options of ps" '^PID +COMMAND$' "$(docker top box -o pid,comm)"
pid=$(docker inspect -f '{{.State.Pid}}' box)
matches "its numbers are this machine's" "^$pid +sh\$" "$(docker top box -o pid,comm)"
fails "top of what does not run is refused" 1 "" docker top nosuch
contains "stats has docker's columns" "MEM USAGE / LIMIT" "$(docker stats --no-stream box)"
matches "stats takes a template" '^box [0-9.]+% [0-9]+$' \
    "$(docker stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.PIDs}}' box)"
contains "stats takes json" '"Name":"box"' "$(docker stats --no-stream --format '{{json .}}' box)"
fails "stats of what is not there fails" 1 "nosuch" docker stats --no-stream nosuch

# -- update
equal "update prints the name" "box" "$(docker update --restart always box)"
equal "and has changed it" "always" "$(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' box)"
docker update --restart no box > /dev/null
fails "update of nothing is refused" 1 "" docker update nosuch --restart no

# -- filters of ps
docker create --name made -l color=red minimal true > /dev/null
docker run --name ended -l color=blue minimal sh -c 'exit 3' || true
names() { docker ps -a --format '{{.Names}}' "$@" | sort | tr '\n' ' '; }
equal "by status" "ended " "$(names -f status=exited)"
equal "by created" "made " "$(names -f status=created)"
equal "by exit code" "ended " "$(names -f exited=3)"
equal "by another code" "" "$(names -f exited=4)"
equal "by label" "ended made " "$(names -f label=color)"
equal "by the label's value" "made " "$(names -f label=color=red)"
equal "by a part of the name" "made " "$(names -f name=mad)"
equal "by a pattern" "made " "$(names -f 'name=^/made$')"
equal "by the image" "box ended made " "$(names -f ancestor=minimal)"
equal "since another" "ended " "$(names -f since=made)"
equal "before another" "box " "$(names -f before=made)"
equal "by no health" "box ended made " "$(names -f health=none)"
equal "the last one" "ended " "$(names -l)"
equal "the last two" "ended made " "$(names -n 2)"
fails "an unknown status is refused" 1 "odd" docker ps -f status=odd
fails "an unknown filter is refused" 1 "odd" docker ps -f odd=1
equal "ids can be whole" "$(docker inspect -f '{{.Id}}' made)" "$(docker ps -aq --no-trunc -f name=made)"
contains "rows can be json" '"Names":"made"' "$(docker ps -a --format '{{json .}}' -f name=made)"
equal "the state is a column" "created" "$(docker ps -a --format '{{.State}}' -f name=made)"

# -- wait
equal "wait tells the code of what has ended" "3" "$(docker wait ended)"
equal "and of what was never begun" "0" "$(docker wait made)"
fails "wait for what is not there fails" 1 "nosuch" docker wait nosuch

# -- inspect
equal "--type container" "/made" "$(docker inspect --type container -f '{{.Name}}' made)"
equal "--type image" "sh" "$(docker inspect --type image -f '{{index .Config.Cmd 0}}' minimal)"
fails "a container is not an image" 1 "" docker inspect --type image made
docker volume create kept > /dev/null
equal "--type volume" "kept" "$(docker inspect --type volume -f '{{.Name}}' kept)"
equal "inspect finds volumes" "kept" "$(docker inspect -f '{{.Name}}' kept)"
docker volume rm kept > /dev/null

# -- a command that cannot be begun
fails "what is not there ends with 127" 127 "" docker run --name never minimal nosuch
equal "the container was never begun" "created" "$(docker inspect -f '{{.State.Status}}' never)"
equal "the code is kept" "127" "$(docker inspect -f '{{.State.ExitCode}}' never)"
contains "ps says Created" "Created" "$(docker ps -a --format '{{.Status}}' -f name=never)"
docker rm never > /dev/null

# -- events
docker run -d --name told -l a=b minimal sleep 1000 > /dev/null
docker exec told true
docker pause told > /dev/null 2>&1
docker unpause told > /dev/null
docker rename told tale
docker restart -t 0 tale > /dev/null
docker kill tale > /dev/null
docker wait tale > /dev/null
docker rm tale > /dev/null
id=$(docker events --since "$start" --until "$(date +%s.%N)" --filter event=rename --format '{{.ID}}')
events() { docker events --since "$start" --until "$(date +%s.%N)" --filter "container=$id" "$@"; }
events --format '{{.Action}}' > all
equal "events tell a whole life" "create start pause unpause rename kill kill die stop start restart kill die" \
    "$(grep -v 'exec\|attach' all | head -13 | tr '\n' ' ' | sed 's/ $//')"
equal "and its end" "destroy" "$(tail -1 all)"
equal "exec is told" "exec_create: true exec_start: true exec_die" \
    "$(grep exec all | tr '\n' ' ' | sed 's/  */ /g; s/ $//')"
equal "an action filters" "pause" "$(events --filter event=pause --format '{{.Action}}')"
equal "a label filters" "create" "$(events --filter event=create --filter label=a=b --format '{{.Action}}')"
equal "of one with another label there are none" "" "$(events --filter label=a=c --format '{{.Action}}')"
events --format '{{.Action}}|{{.Actor.Attributes.name}}|{{.From}}|{{.Actor.Attributes.a}}|{{.Actor.Attributes.oldName}}|{{.Actor.Attributes.signal}}|{{.Actor.Attributes.exitCode}}' > seen
field() { grep "^$1|" seen | tail -1 | cut -d '|' -f "$2"; }
equal "attributes have the name" "told" "$(field create 2)"
equal "the image" "minimal" "$(field create 3)"
equal "the labels" "b" "$(field create 4)"
equal "the old name" "/told" "$(field rename 5)"
equal "the signal of kill" "9" "$(field kill 6)"
equal "the code of die" "137" "$(field die 7)"
matches "a line has time, type, action, id and attributes" \
    "^[0-9T:.-]+(Z|[+-][0-9:]+) container create $id \(a=b, image=minimal, name=told\)\$" "$(events --filter event=create)"
contains "json has docker's members" \
    "{\"status\":\"create\",\"id\":\"$id\",\"from\":\"minimal\",\"Type\":\"container\",\"Action\":\"create\",\"Actor\":{\"ID\"" \
    "$(events --filter event=create --format '{{json .}}')"
docker events --filter event=start --filter container=later --format '{{json .}}' > following &
follower=$!
sleep 1
docker run -d --name later minimal sleep 1000 > /dev/null
eventually "who follows is told at once" grep -q '"Action":"start"' following
kill "$follower"
docker tag minimal other:1
docker rmi other:1 > /dev/null
contains "images have events" "tag untag" \
    "$(docker events --since "$start" --until "$(date +%s.%N)" -f type=image --format '{{.Action}}' | tr '\n' ' ')"
equal "system events is the same" "create" \
    "$(docker system events --since "$start" --until "$(date +%s.%N)" -f "container=$id" -f event=create \
        --format '{{.Action}}')"
docker rm -f later box ended made > /dev/null
equal "nothing is left" "" "$(docker ps -aq)"
