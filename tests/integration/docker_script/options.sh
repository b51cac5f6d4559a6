# Options of run: namespaces, devices, shares, volumes of others, mounts, attached streams.
. "$LIB"

# -- namespaces
equal "--ipc host has the machine's" "$(readlink /proc/self/ns/ipc)" \
    "$(docker run --rm --ipc host minimal readlink /proc/self/ns/ipc)"
docker run --rm --ipc private --cgroupns host --userns host minimal readlink /proc/self/ns/ipc > seen
lacks "--ipc private has its own" "$(readlink /proc/self/ns/ipc)" "$(cat seen)"
contains "--cgroupns host and --userns host are taken" "ipc:" "$(cat seen)"
lacks "--ipc none has no /dev/shm" " /dev/shm " "$(docker run --rm --ipc none minimal cat /proc/mounts)"
contains "--ipc shareable has one" " /dev/shm " "$(docker run --rm --ipc shareable minimal cat /proc/mounts)"
docker run -d --name donor --ipc shareable minimal sh -c 'echo shared > /dev/shm/f; exec sleep 1000' > /dev/null
eventually "the donor writes" docker exec donor test -s /dev/shm/f
equal "--ipc container shares memory" "shared" "$(docker run --rm --ipc container:donor minimal cat /dev/shm/f)"
succeeds "the donor goes" docker rm -f donor
fails "--ipc container of nobody" 125 "nobody" docker run --rm --ipc container:nobody minimal true
fails "another --ipc is refused" 125 "" docker run --rm --ipc nonsense minimal true
equal "--uts host has the machine's name" "$(uname -n)" "$(docker run --rm --uts host minimal hostname)"
fails "--uts host and a name contradict" 125 "" docker run --rm --uts host -h other minimal true
equal "--pid host has the machine's" "$(readlink /proc/self/ns/pid)" \
    "$(docker run --rm --pid host minimal readlink /proc/self/ns/pid)"
docker run -d --name pids --pid host --ipc host minimal sleep 1234 > /dev/null
contains "its command is among the machine's processes" "sleep" \
    "$(tr '\0' ' ' < /proc/"$(docker inspect -f '{{.State.Pid}}' pids)"/cmdline)"
equal "exec is among them too" "$(readlink /proc/self/ns/pid)" "$(docker exec pids readlink /proc/self/ns/pid)"
equal "inspect has PidMode" "host" "$(docker inspect -f '{{.HostConfig.PidMode}}' pids)"
equal "inspect has IpcMode" "host" "$(docker inspect -f '{{.HostConfig.IpcMode}}' pids)"
succeeds "it is removed by force" docker rm -f pids
equal "--sysctl of the IPC namespace" "65537" \
    "$(docker run --rm --sysctl kernel.shmmax=65537 minimal cat /proc/sys/kernel/shmmax)"
equal "--sysctl of a network of its own" "1" \
    "$(docker run --rm --network none --sysctl net.ipv4.ip_forward=1 minimal cat /proc/sys/net/ipv4/ip_forward)"
fails "--sysctl of the machine is refused" 125 "vm.swappiness" docker run --rm --sysctl vm.swappiness=1 minimal true

# -- devices and shares
equal "--device gives a node another name" "3" \
    "$(docker run --rm --device /dev/zero:/dev/nothing minimal sh -c 'head -c 3 /dev/nothing | wc -c')"
fails "--device with a wrong mode is refused" 125 "" docker run --rm --device /dev/zero:/dev/x:q minimal true
equal "--oom-score-adj" "300" "$(docker run --rm --oom-score-adj 300 minimal cat /proc/self/oom_score_adj)"
equal "--cpuset-cpus" "0" \
    "$(docker run --rm --cpuset-cpus 0 minimal sh -c 'grep Cpus_allowed_list /proc/self/status | tr -dc 0-9,-' 2>/dev/null)"
fails "--cpuset-cpus beyond the machine" 125 "" docker run --rm --cpuset-cpus 4000 minimal true
succeeds "--cpu-shares and --memory-reservation" docker run --rm -c 512 --memory-reservation 20m minimal true
fails "--cpus and --cpu-quota contradict" 125 "" docker run --rm --cpus 1 --cpu-quota 5000 minimal true
equal "--group-add" "10" "$(docker run --rm --group-add wheel minimal id -G | tr ' ' '\n' | tail -1)"

# -- files
equal "-v /:/host shows the machine" "$(cat /etc/os-release)" "$(docker run --rm -v /:/host minimal cat /host/etc/os-release)"
mkdir -p shared/below && chmod 777 shared && echo ours > shared/file
equal "z and Z are taken" "ours" "$(docker run --rm -v "$PWD/shared:/m:rprivate,z" minimal cat /m/file)"
docker run --name store -v /data -v "$PWD/shared:/bind" minimal sh -c 'echo kept > /data/f'
docker run --rm --volumes-from store minimal cat /data/f /bind/file > seen
equal "--volumes-from shares volumes" "kept" "$(sed -n 1p seen)"
equal "--volumes-from shares binds" "ours" "$(sed -n 2p seen)"
fails "--volumes-from with ro" 1 "Read-only" docker run --rm --volumes-from store:ro minimal touch /data/x
fails "--volumes-from of nobody" 125 "nobody" docker run --rm --volumes-from nobody minimal true
succeeds "the first goes with its volumes" docker rm -v store
docker run --rm --tmpfs /t --tmpfs /e:exec --tmpfs /s:size=1m --mount type=tmpfs,dst=/m,tmpfs-size=1m minimal \
    sh -c 'cat /proc/mounts; test -f /.dockerenv && echo marked' > seen
contains "--tmpfs lets nothing be executed" "noexec" "$(grep ' /t ' seen)"
lacks "--tmpfs with exec does" "noexec" "$(grep ' /e ' seen)"
contains "--tmpfs with a size" "size=1024k" "$(grep ' /s ' seen)"
contains "--mount of a tmpfs" "size=1024k" "$(grep ' /m ' seen)"
contains "/.dockerenv is there" "marked" "$(cat seen)"
fails "--mount of what is not there" 125 "" docker run --rm --mount "type=bind,src=$PWD/none,dst=/m" minimal true

# -- streams, names, what is written of it
docker run --name named minimal sh -c 'echo out; echo err >&2; exit 3' > out 2> err
equal "what was printed in the foreground is logged" "out" "$(docker logs named 2> /dev/null)"
equal "and what went to stderr" "err" "$(docker logs named 2>&1 > /dev/null)"
equal "with its exit code" "3" "$(docker inspect -f '{{.State.ExitCode}}' named)"
docker rm named > /dev/null
equal "-a stdout leaves stderr out" "out" "$(docker run --rm -a stdout minimal sh -c 'echo out; echo err >&2' 2>&1)"
fails "-a of no stream" 125 "" docker run --rm -a nonsense minimal true
docker create --name asked --expose 81 -c 256 --runtime runc minimal true > /dev/null
equal "inspect has shares" "256" "$(docker inspect -f '{{.HostConfig.CpuShares}}' asked)"
contains "inspect has exposed ports" "81/tcp" "$(docker inspect -f '{{json .Config.ExposedPorts}}' asked)"
succeeds "what was only made is removed" docker rm asked
fails "--runtime that is not there" 125 "nosuch" docker run --rm --runtime nosuch minimal true
fails "--cpu-rt-runtime beyond its period" 125 "" docker run --rm --cpu-rt-runtime 5 --cpu-rt-period 1 minimal true
docker create --name asked --cap-add CAP_NET_ADMIN --cap-drop CAP_MKNOD --dns 192.0.2.1 --stop-timeout 4 \
    --security-opt no-new-privileges --ulimit nofile=64:128 --group-add 5 minimal true > /dev/null
equal "inspect has what differs of the capabilities" "[CAP_NET_ADMIN] [CAP_MKNOD]" \
    "$(docker inspect -f '{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}}' asked)"
equal "inspect has name servers and groups" "[192.0.2.1] [5]" \
    "$(docker inspect -f '{{.HostConfig.Dns}} {{.HostConfig.GroupAdd}}' asked)"
equal "inspect has the patience and what is secured" "4 [no-new-privileges]" \
    "$(docker inspect -f '{{.Config.StopTimeout}} {{.HostConfig.SecurityOpt}}' asked)"
equal "inspect has limits" "nofile 64 128" \
    "$(docker inspect -f '{{range .HostConfig.Ulimits}}{{.Name}} {{.Soft}} {{.Hard}}{{end}}' asked)"
equal "a template asks whether a health is checked" "no null" \
    "$(docker inspect -f '{{if .State.Health}}yes{{else}}no{{end}} {{json .State.Health}}' asked)"
docker rm asked > /dev/null
docker create --name asked minimal true > /dev/null
equal "inspect has empty lists where nothing was asked" "[] [] [] <nil>" \
    "$(docker inspect -f '{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.Config.StopTimeout}}' asked)"
docker rm asked > /dev/null
