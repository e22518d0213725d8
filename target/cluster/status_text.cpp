#include "target/cluster/status_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/units.hpp"

namespace mpath::target::cluster {
namespace {

constexpr int bar_width = 20;

using Row = std::vector<std::string>;

std::string columns(const std::vector<Row>& rows, std::string_view indent) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t at = 0; at < row.size(); ++at) widths[at] = std::max(widths[at], row[at].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line(indent);
    for (std::size_t at = 0; at < row.size(); ++at) line += fmt::format("{:<{}}  ", row[at], widths[at]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string nodes_text(MemberSet members) {
  std::string text;
  for (const Member member : {Member::a, Member::b}) {
    if (members.has(member)) text += fmt::format("{}{}", text.empty() ? "" : " and ", name(member));
  }
  return text;
}

std::string held_back_text(const ClusterStatus& status) {
  if (status.held_back.empty()) return {};
  if (status.maintenance()) return ", in maintenance: no takeover by itself";
  return fmt::format(", node {} stands by: it does not take over by itself", nodes_text(status.held_back));
}

bool primary_here(const ClusterStatus& status) {
  return status.view.number > 0 && status.view.primary == status.self;
}

const char* role_here(const ClusterStatus& status) {
  return status.serving ? "Primary" : "Secondary";
}
const char* role_there(const ClusterStatus& status) {
  if (!status.peer_heard) return "Unknown";
  return status.view.number > 0 && !primary_here(status) ? "Primary" : "Secondary";
}

// A bar belongs to a filling that is under way, or would be if the other were there.
bool filling(const CopyStatus& copy) {
  return copy.fill_total_bytes > 0 && copy.to_fill_bytes > 0;
}

double done_percent(const CopyStatus& copy) {
  const auto done = copy.fill_total_bytes - std::min(copy.to_fill_bytes, copy.fill_total_bytes);
  return 100.0 * static_cast<double>(done) / static_cast<double>(copy.fill_total_bytes);
}

std::string bar(double percent) {
  const int steps = static_cast<int>(percent * bar_width / 100);
  const int before = std::max(steps, 1) - 1;
  return fmt::format("[{:=>{}}>{:.>{}}]", "", before, "", bar_width - before - 1);
}

std::string clock_text(std::chrono::seconds time) {
  const auto seconds = time.count();
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

std::string silence_text(const LinkStatus& link) {
  if (link.received == 0) return "never heard";
  return format_duration(link.silent) + (link.heard ? "" : " DEAD");
}

std::string serving_text(const ClusterStatus& status) {
  if (!status.joined) return "nobody: neither `cluster init` nor `cluster join` was said on this node yet";
  if (status.serving) return fmt::format("this node, {}", name(status.self));
  const std::string waiting = status.waits_for.empty() ? "" : fmt::format("; this node waits for {}", status.waits_for);
  if (status.view.number == 0 || primary_here(status)) return "not this node" + waiting;
  if (!status.peer_heard)
    return fmt::format("node {} served last, and is not heard{}", name(status.view.primary), waiting);
  return fmt::format("node {}", name(status.view.primary));
}

std::string lease_text(const ClusterStatus& status) {
  if (status.view.in_sync.only(status.self) && primary_here(status)) return "not needed: no other node can serve";
  if (!primary_here(status)) return "the other node's";
  if (!status.lease_left || status.lease_left->count() <= 0) return "none: nothing is answered here";
  return format_duration(*status.lease_left) + " left";
}

std::string witness_text(const ClusterStatus& status) {
  if (!status.witness_configured) return "none configured";
  return status.witness_heard ? "heard" : "NOT HEARD";
}

std::string virtual_ip_text(const ClusterStatus& status) {
  if (status.virtual_address.empty()) return "none configured";
  return status.virtual_address + (status.virtual_address_here ? " here" : " not here");
}

std::string fill_text(const CopyStatus& copy) {
  std::string text = fmt::format("    {} {:.1f}%, {} of {} left", bar(done_percent(copy)), done_percent(copy),
                                 format_amount(copy.to_fill_bytes), format_amount(copy.fill_total_bytes));
  if (copy.fill_bytes_per_second >= 1)
    text += fmt::format(", {}/s", format_amount(static_cast<std::uint64_t>(copy.fill_bytes_per_second)));
  else if (copy.connection == "Connected")
    text += ", stalled";
  if (copy.fill_eta) text += fmt::format(", ready in {}", clock_text(*copy.fill_eta));
  return text + "\n";
}

std::string links_text(const CopyStatus& copy) {
  std::string text, auth;
  for (const StreamLinkStatus& link : copy.links) {
    // The same for all, as both nodes have said it when they began.
    if (link.up) auth = link.auth;
    text += text.empty() ? "    over " : ", ";
    text += link.remote;
    text += link.up ? fmt::format(" ({} sent, {} received)", format_amount(link.sent_bytes),
                                  format_amount(link.received_bytes))
                    : " LOST";
  }
  if (!auth.empty()) text += ", stream_auth " + auth;
  if (!text.empty()) text += "\n";
  return text;
}

// What the other one is told, or that it is older, is not known here: both mean C.
std::string protocol_text(const CopyStatus& copy) {
  std::string text;
  const Protocol there = copy.protocol_there.value_or(copy.protocol_here);
  if (copy.protocol_here != there)
    text += fmt::format("    protocol {} is said here, {} there: the stricter counts\n", letter(copy.protocol_here),
                        there == Protocol::c ? "C (or an older version)" : std::string(1, letter(there)));
  if (copy.unconfirmed_bytes > 0)
    text +=
        fmt::format("    {} answered and not yet confirmed by the other node\n", format_amount(copy.unconfirmed_bytes));
  return text;
}

std::string units_text(const ClusterStatus& status) {
  std::string text;
  std::vector<Row> rows{{"LU", "CONNECTION", "PROTOCOL", "ROLES", "HERE", "THERE", "SIZE", "DIFFERS"}};
  for (const CopyStatus& copy : status.copies)
    rows.push_back({copy.unit, copy.connection, std::string(1, letter(copy.protocol)),
                    fmt::format("{}/{}", role_here(status), role_there(status)), copy.local_disk, copy.peer_disk,
                    format_amount(copy.size_bytes), format_amount(copy.dirty_bytes)});
  const std::string table = columns(rows, "  ");
  std::size_t line = table.find('\n') + 1;
  text += table.substr(0, line);
  for (const CopyStatus& copy : status.copies) {
    const std::size_t end = table.find('\n', line) + 1;
    text += table.substr(line, end - line);
    line = end;
    if (filling(copy)) text += fill_text(copy);
    if (!copy.trouble.empty()) text += fmt::format("    {}\n", copy.trouble);
    text += protocol_text(copy);
    text += links_text(copy);
  }
  return text;
}

// drbd's word for what a connection does.
std::string drbd_connection(const CopyStatus& copy) {
  if (copy.connection == "Connecting") return "WFConnection";
  if (copy.connection == "Disconnected") return "StandAlone";
  if (copy.connection != "Connected" || !filling(copy)) return copy.connection;
  return copy.local_disk == "UpToDate" ? "SyncSource" : "SyncTarget";
}

// 101,248
std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

constexpr std::uint64_t kib(std::uint64_t bytes) {
  return (bytes + 1023) / 1024;
}

}  // namespace

std::string format_amount(std::uint64_t bytes) {
  static constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  const bool whole = unit == 0 || value == static_cast<double>(static_cast<std::uint64_t>(value));
  return fmt::format("{:.{}f} {}", value, whole ? 0 : 1, units[unit]);
}

std::string status_text(const ClusterStatus& status) {
  std::string text;
  for (const std::string& alarm : status.alarms) text += fmt::format("ALARM: {}\n", alarm);
  text += fmt::format("cluster {}, node {}{}{}\n", status.name, name(status.self), held_back_text(status),
                      status.suspect ? ", suspect: it may lack writes until it is filled" : "");
  const auto line = [&text](std::string_view what, const std::string& value) {
    text += fmt::format("  {:<11} {}\n", what, value);
  };
  line("serves", serving_text(status));
  line("view", status.view.number == 0 ? "none decided yet"
                                       : fmt::format("{}: primary {}, in sync {}", status.view.number,
                                                     name(status.view.primary), nodes_text(status.view.in_sync)));
  line(fmt::format("node {}", name(peer_of(status.self))), status.peer_heard ? "heard" : "NOT HEARD");
  line("witness", witness_text(status));
  line("lease", lease_text(status));
  line("virtual IP", virtual_ip_text(status));
  if (!status.links.empty()) {
    std::vector<Row> rows{{"LINK TO", "FROM", "AT", "SILENT FOR", "SENT", "RECEIVED", "REFUSED"}};
    for (const LinkStatus& link : status.links)
      rows.push_back({name(link.to), link.local, link.remote, silence_text(link), std::to_string(link.sent),
                      std::to_string(link.received), std::to_string(link.refused)});
    text += columns(rows, "  ");
  }
  if (!status.copies.empty()) text += units_text(status);
  return text;
}

std::string brief_text(const ClusterStatus& status) {
  std::string text;
  const bool suspended = primary_here(status) && !status.serving;
  for (std::size_t index = 0; index < status.copies.size(); ++index) {
    const CopyStatus& copy = status.copies[index];
    text +=
        fmt::format("{:2}: cs:{} ro:{}/{} ds:{}/{} {} {}-----\n", index, drbd_connection(copy), role_here(status),
                    role_there(status), copy.local_disk, copy.peer_disk, letter(copy.protocol), suspended ? 's' : 'r');
    text += fmt::format("    ns:{} nr:{} dw:{} dr:{} al:0 bm:0 lo:0 pe:{} ua:0 ap:{} ep:1 wo:f oos:{}\n",
                        kib(copy.sent_bytes), kib(copy.received_bytes), kib(copy.written_bytes), kib(copy.read_bytes),
                        copy.pending, copy.pending, kib(copy.dirty_bytes));
    if (!filling(copy)) continue;
    text += fmt::format("\t{} sync'ed:{:5.1f}% ({}/{})K\n", bar(done_percent(copy)), done_percent(copy),
                        kib(copy.to_fill_bytes), kib(copy.fill_total_bytes));
    if (!copy.fill_eta) continue;
    text += fmt::format("\tfinish: {} speed: {} K/sec\n", clock_text(*copy.fill_eta),
                        grouped(static_cast<std::uint64_t>(copy.fill_bytes_per_second) / 1024));
  }
  return text;
}

std::string state_line(const ClusterStatus& status) {
  const bool decided = status.view.number > 0;
  std::string in_sync;
  for (const Member member : {Member::a, Member::b}) {
    if (status.view.in_sync.has(member)) in_sync += name(member);
  }
  std::string text =
      fmt::format("{} view={} primary={} in_sync={} node={} serving={} peer={}", status.name, status.view.number,
                  decided ? name(status.view.primary) : "none", in_sync.empty() ? "none" : in_sync, name(status.self),
                  status.serving ? "yes" : "no", status.peer_heard ? "heard" : "silent");
  if (status.witness_configured) text += status.witness_heard ? " witness=heard" : " witness=silent";
  if (!status.held_back.empty()) text += " held_back=" + nodes_text(status.held_back);
  if (!status.virtual_address.empty()) text += status.virtual_address_here ? " vip=here" : " vip=away";
  for (const CopyStatus& copy : status.copies) {
    text += fmt::format(" {}={}:{}/{}", copy.unit, copy.connection, copy.local_disk, copy.peer_disk);
    if (filling(copy)) text += fmt::format(":{:.0f}%", done_percent(copy));
  }
  for (const std::string& alarm : status.alarms) text += fmt::format(" alarm=\"{}\"", alarm);
  return text;
}

std::string force_warning(const ClusterStatus& status) {
  const char* const other = name(peer_of(status.self));
  if (status.view.number == 0) return "This node knows of nothing that was decided.\n";
  if (status.view.in_sync.has(status.self)) {
    if (status.view.in_sync.size() == 1)
      return "This node is the only one in sync: as far as it knows nothing is lost.\n";
    return fmt::format(
        "This node was in sync when it last heard of it (view {}). If node {} went on alone since, the writes that it "
        "answered then are lost.\n",
        status.view.number, other);
  }
  std::uint64_t lacking = 0;
  for (const CopyStatus& copy : status.copies) lacking += std::max(copy.dirty_bytes, copy.to_fill_bytes);
  return fmt::format(
      "This node is NOT in sync: node {} served alone since view {}. The writes that it answered since are lost{}. A "
      "copy "
      "that was being filled holds old and new blocks side by side: file systems on it need repair.\n",
      other, status.view.number,
      lacking == 0 ? "" : fmt::format(" ({} were still to be filled when it was last heard)", format_amount(lacking)));
}

}  // namespace mpath::target::cluster
