# The life of a container: run, exec, logs, stop, kill, restart, wait, rename, rm, ps, inspect.
. "$LIB"

# -- in the foreground
equal "run prints what the command prints" "hello" "$(docker run --rm minimal echo hello)"
equal "run -i reads stdin" "typed" "$(echo typed | docker run --rm -i minimal cat)"
equal "stdin without -i is empty" "" "$(echo typed | docker run --rm minimal cat)"
printf 'B=2\n# no\nC=a b\n' > env
OURS=mine docker run --rm -e A=1 -e OURS --env-file env -w /new/dir -u 5:6 -h box.test --add-host far:10.1.2.3 minimal \
    sh -c 'echo $A; echo $OURS; echo $B $C; pwd; echo $(id -u):$(id -g); hostname; cat /etc/hosts' > seen
equal "-e sets a variable" "1" "$(sed -n 1p seen)"
equal "-e without a value takes ours" "mine" "$(sed -n 2p seen)"
equal "--env-file reads a file" "2 a b" "$(sed -n 3p seen)"
equal "-w sets the directory and makes it" "/new/dir" "$(sed -n 4p seen)"
equal "-u takes numbers" "5:6" "$(sed -n 5p seen)"
equal "-h sets the host name" "box.test" "$(sed -n 6p seen)"
contains "--add-host adds a line" "10.1.2.3" "$(sed 1,6d seen)"
equal "-u takes a name of the image" "1000" "$(docker run --rm -u alice --entrypoint id minimal -u)"
equal "--entrypoint replaces the entry point" "x" "$(docker run --rm --entrypoint echo minimal x)"
docker run --rm --read-only --tmpfs /t minimal sh -c 'touch /x; touch /t/x && echo written' > seen 2>&1
contains "--read-only protects the root" "Read-only file system" "$(cat seen)"
contains "--tmpfs is writable in a read-only root" "written" "$(cat seen)"
fails "the exit code is the command's" 7 "" docker run --rm minimal sh -c 'exit 7'
fails "a command that is not there ends with 127" 127 "not found" docker run --rm minimal nosuch
fails "a command that may not be executed ends with 126" 126 "permission denied" docker run --rm minimal /etc/passwd
fails "an unknown option ends with 125" 125 "--nosuch" docker run --nosuch minimal true
fails "process 1 is not killed from inside" 3 "" docker run --rm minimal sh -c 'kill -9 $$; exit 3'
docker run --rm minimal sh -c 'echo out; echo err >&2' > out 2> err
equal "stdout is apart" "out" "$(cat out)"
equal "stderr is apart" "err" "$(cat err)"
head -c 3000000 /dev/urandom > big
docker run --rm -i minimal cat < big > back
succeeds "a pipe loses nothing" cmp big back
mkdir shared && echo ours > shared/file
docker run --rm -v "$PWD/shared:/m" -v "$PWD/shared:/r:ro" --mount "type=bind,source=$PWD/shared,target=/n,readonly" \
    minimal sh -c 'cat /m/file /n/file; touch /r/x' > seen 2> err
equal "-v shows a directory of ours" "ours" "$(sed -n 1p seen)"
equal "--mount shows it too" "ours" "$(sed -n 2p seen)"
contains "-v with ro is read-only" "Read-only" "$(cat err)"
succeeds "--cidfile writes the id" docker run --cidfile id --name kept minimal true
equal "the id in the file is whole" "$(docker inspect -f '{{.Id}}' kept)" "$(cat id)"
succeeds "rm removes what has ended" docker rm kept
fails "what is gone is not there" 1 "No such" docker inspect kept

# -- in the background
id=$(docker run -d --name box -l tier=web -e IN=side minimal sh -c 'echo begun; echo bad >&2; exec sleep 1000')
equal "run -d prints the whole id" 64 "$(printf %s "$id" | wc -c | tr -d ' ')"
equal "inspect knows it by a short id" "$id" "$(docker inspect -f '{{.Id}}' "$(printf %.12s "$id")")"
form='{{.State.Running}}|{{.State.Status}}|{{.Name}}|{{index .Config.Labels "tier"}}|{{join .Config.Cmd " "}}|{{.Config.Image}}|{{json .Config.Env}}'
docker inspect -f "$form" box | tr '|' '\n' > seen
equal "it runs" "true" "$(sed -n 1p seen)"
equal "its status is running" "running" "$(sed -n 2p seen)"
equal "inspect has the name with a slash" "/box" "$(sed -n 3p seen)"
equal "inspect has its labels" "web" "$(sed -n 4p seen)"
equal "inspect has its command" "sh -c echo begun; echo bad >&2; exec sleep 1000" "$(sed -n 5p seen)"
equal "inspect has its image" "minimal" "$(sed -n 6p seen)"
contains "inspect has its variables" "IN=side" "$(sed -n 7p seen)"
fails "a name is not given twice" 125 "is already in use" docker run -d --name box minimal true
eventually "logs have the output" sh -c 'docker logs box 2>/dev/null | grep -qx begun'
equal "logs keep stderr apart" "bad" "$(docker logs box 2>&1 >/dev/null)"
equal "logs -n shows the last lines" "1" "$(docker logs -n 1 box 2>&1 | wc -l | tr -d ' ')"
matches "logs -t begins lines with the time" '^20[0-9-]+T[0-9:.]+Z begun$' "$(docker logs -t box 2>/dev/null)"
equal "ps shows its name" "box" "$(docker ps --filter name=box --format '{{.Names}}')"
equal "ps -q shows a short id" "$(printf %.12s "$id")" "$(docker ps -q --filter label=tier=web)"
equal "ps --no-trunc shows the whole id" "$id" "$(docker ps -q --no-trunc --filter label=tier)"
matches "ps says since when it is up" '^Up ' "$(docker ps --filter name=box --format '{{.Status}}')"
matches "ps has docker's columns" '^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$' "$(docker ps)"
equal "a filter that fits nothing shows nothing" "" "$(docker ps -q --filter label=tier=db)"

# -- exec
equal "exec runs a command" "side" "$(docker exec box sh -c 'echo $IN')"
equal "exec -e sets a variable" "2" "$(docker exec -e N=2 box sh -c 'echo $N')"
equal "exec -w sets the directory" "/srv" "$(docker exec -w /srv box pwd)"
equal "exec -u changes the user" "1000" "$(docker exec -u alice box id -u)"
equal "exec -i reads stdin" "typed" "$(echo typed | docker exec -i box cat)"
fails "exec ends with the code of the command" 3 "" docker exec box sh -c 'exit 3'
contains "exec of what is not there names it" "nosuch" "$(docker exec box nosuch 2>&1)"
succeeds "exec -d returns at once" docker exec -d box sh -c 'sleep 0.3; touch /later'
eventually "what exec -d began goes on" docker exec box test -e /later
succeeds "what one exec writes the next sees" docker exec box sh -c 'echo x > /written'
equal "a file of an earlier exec is there" "x" "$(docker exec box cat /written)"
docker run -d --init --name inited minimal sleep 1000 > /dev/null
equal "exec enters a container that has an init" "0" "$(docker exec inited id -u)"
succeeds "and cp reaches it" docker cp env inited:/srv/env
docker rm -f inited > /dev/null

# -- stop, start, restart, kill, wait, rename
equal "rename prints nothing" "" "$(docker rename box case)"
equal "its new name is known" "$id" "$(docker inspect -f '{{.Id}}' case)"
fails "its old name is not" 1 "No such" docker inspect box
fails "rm refuses what runs" 1 "container" docker rm case
equal "stop prints the name" "case" "$(docker stop -t 0 case)"
equal "stopped by force it has 137" "137" "$(docker inspect -f '{{.State.ExitCode}}' case)"
equal "it does not run" "exited" "$(docker inspect -f '{{.State.Status}}' case)"
equal "ps without -a hides it" "" "$(docker ps -q)"
matches "ps -a shows how it ended" '^Exited \(137\)' "$(docker ps -a --filter name=case --format '{{.Status}}')"
fails "exec in what does not run is refused" 1 "is not running" docker exec case true
equal "start prints the name" "case" "$(docker start case)"
equal "it runs again" "true" "$(docker inspect -f '{{.State.Running}}' case)"
equal "its files are still there" "x" "$(docker exec case cat /written)"
before=$(docker inspect -f '{{.State.StartedAt}}' case)
equal "restart prints the name" "case" "$(docker restart -t 0 case)"
after=$(docker inspect -f '{{.State.StartedAt}}' case)
succeeds "restart begins it anew" test "$before" != "$after"
equal "kill prints the name" "case" "$(docker kill case)"
equal "wait prints the code" "137" "$(docker wait case)"
equal "rm prints the name" "case" "$(docker rm case)"
docker run -d --name trap minimal sh -c 'trap "exit 9" TERM USR1; echo up; while :; do sleep 0.1; done' > /dev/null
eventually "the log of a loop appears" sh -c 'docker logs trap | grep -q up'
docker kill -s USR1 trap > /dev/null
equal "wait waits for the end" "9" "$(docker wait trap)"
docker start trap > /dev/null
eventually "the log goes on after a start" sh -c '[ "$(docker logs trap | grep -c up)" = 2 ]'
docker stop trap > /dev/null
equal "stop asks first" "9" "$(docker inspect -f '{{.State.ExitCode}}' trap)"
succeeds "rm -f removes anything" docker rm -f trap

# -- exec of what cannot be begun, and no output attached
docker run -d --name box minimal sleep 1000 > /dev/null
fails "exec as nobody known" 126 "" docker exec -u nosuch box true
fails "exec in no directory" 126 "" docker exec -w /nosuch box true
docker rm -f box > /dev/null
matches "-a stdin alone prints the id" "^[0-9a-f]{64}$" "$(echo in | docker run --name quiet -a stdin minimal sh -c 'cat; exit 3')"
docker wait quiet > /dev/null
equal "and the command's end is told by inspect" "3" "$(docker inspect -f '{{.State.ExitCode}}' quiet)"
docker rm quiet > /dev/null
succeeds "-a stdin alone ends well" sh -c 'docker run --name quiet -a stdin minimal false < /dev/null'
docker rm -f quiet > /dev/null

# -- create, start -a
docker create --name made minimal sh -c 'echo once; exit 4' > /dev/null
equal "created is a state" "created" "$(docker inspect -f '{{.State.Status}}' made)"
equal "start -a shows the output" "once" "$(docker start -a made)"
fails "start -a ends with the command's code" 4 "" docker start -a made
equal "logs has both runs" "2" "$(docker logs made | grep -c once)"
docker rm made > /dev/null
docker create -i --name reader minimal cat > /dev/null
equal "start -a -i reads stdin" "through" "$(echo through | docker start -a -i reader)"
docker rm reader > /dev/null
docker run -d --rm --name brief minimal sleep 0.3 > /dev/null
eventually "run -d --rm removes itself" sh -c '! docker inspect brief'
docker run -d --name again --restart on-failure:2 minimal sh -c 'echo try; exit 1' > /dev/null
eventually "--restart begins it again" sh -c '[ "$(docker logs again | grep -c try)" = 3 ]'
eventually "and gives up" sh -c '[ "$(docker inspect -f "{{.State.Status}}" again)" = exited ]'
equal "inspect counts restarts" "2" "$(docker inspect -f '{{.RestartCount}}' again)"
equal "inspect has the policy" "on-failure" "$(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' again)"
docker rm again > /dev/null
fails "stop of nothing says so" 1 "No such container: nosuch" docker stop nosuch
fails "logs of nothing says so" 1 "No such container: nosuch" docker logs nosuch
fails "rm of nothing says so" 1 "No such container: nosuch" docker rm nosuch
succeeds "rm -f of nothing is fine or said" sh -c 'docker rm -f nosuch || true'
equal "nothing is left" "" "$(docker ps -aq)"
