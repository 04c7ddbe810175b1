//! CPU time that processes have used, as Linux tells it in `/proc`; nothing on other systems.

use std::{fs, net::SocketAddr, time::Duration};

/// Both parts of the CPU time of a process: a pid, or `self`. None when there is no such process to be seen.
pub(super) fn used(process: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    ticks(&stat).map(|ticks| Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// utime and stime (proc_pid_stat(5)): the 14th and 15th field. The second may hold blanks and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

/// The process of this machine that listens at a loopback address, if it can be seen.
pub(crate) fn listener_of(addr: SocketAddr) -> Option<u32> {
    if !addr.ip().is_loopback() {
        return None;
    }
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        listening(&table, addr.port())
    })?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link.as_os_str() == socket.as_str())
    })
}

/// The inode of the socket that listens at `port` (proc_pid_net(5)).
fn listening(table: &str, port: u16) -> Option<u64> {
    let (end, listen) = (format!(":{port:04X}"), "0A");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let matches = fields.get(1)?.ends_with(&end) && *fields.get(3)? == listen;
        matches.then(|| fields.get(9)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_read_whatever_the_name_of_the_process() {
        let stat = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 8 0 5 1000 10 184";
        assert_eq!(ticks(stat), Some(100));
        assert_eq!(ticks("4242 (a) S 1"), None);
    }

    #[test]
    fn the_listener_of_a_port_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:C383 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 111 1 0 20 0\n\
             1: 0100007F:C383 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0\n";
        assert_eq!(listening(table, 0xC383), Some(222));
        assert_eq!(listening(table, 0xC384), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_listens_and_uses_the_cpu() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        assert_eq!(listener_of(listener.local_addr().expect("bound")), Some(std::process::id()));
        assert!(used("self").is_some());
    }
}
