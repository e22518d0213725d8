// drbd.conf into the draft of a pair: resources become units, their addresses links.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/units.hpp"
#include "target/config/drbd_text.hpp"
#include "target/config/import_writer.hpp"
#include "target/config/pair_draft.hpp"
#include "target/config/parse.hpp"

namespace mpath::target {
namespace {

enum class Fate { needless, lost };

// What became of options that have no counterpart.
struct Known {
  std::string_view key;
  Fate fate;
  std::string_view why;
};
constexpr std::string_view by_key_file = "not needed: the members know each other by key_file";
constexpr std::string_view by_deadtime = "not needed: keepalive and deadtime decide when a peer is lost";
constexpr std::string_view by_itself = "not needed: what a copy may lack is known by itself";
constexpr std::string_view by_record = "not needed: the vote record says who may serve, nobody waits a guessed time";
constexpr std::string_view no_handlers =
    "there are no handlers: a failed medium is served from the peer, and mptargetctl cluster status has the alarms";
constexpr std::string_view by_view =
    "not needed: a node that was voted out never serves with old data; after a split see cluster connect "
    "--discard-my-data";
constexpr Known known[] = {
    {"cram-hmac-alg", Fate::needless, by_key_file},
    {"tls-keyring", Fate::needless, by_key_file},
    {"tls-privkey", Fate::needless, by_key_file},
    {"tls-certificate", Fate::needless, by_key_file},
    {"timeout", Fate::needless, by_deadtime},
    {"connect-int", Fate::needless, by_deadtime},
    {"ping-int", Fate::needless, by_deadtime},
    {"ping-timeout", Fate::needless, by_deadtime},
    {"ko-count", Fate::needless, by_deadtime},
    {"max-buffers", Fate::needless, "not needed: memory is bounded by itself"},
    {"max-epoch-size", Fate::needless, "not needed: memory is bounded by itself"},
    {"sndbuf-size", Fate::needless, "not needed: the kernel chooses"},
    {"rcvbuf-size", Fate::needless, "not needed: the kernel chooses"},
    {"unplug-watermark", Fate::needless, "not needed"},
    {"data-integrity-alg", Fate::needless, "not needed: everything between the nodes has a checksum"},
    {"verify-alg", Fate::needless, "not needed: mptargetctl cluster verify"},
    {"csums-alg", Fate::needless, by_itself},
    {"al-extents", Fate::needless, by_itself},
    {"al-updates", Fate::needless, by_itself},
    {"use-rle", Fate::needless, by_itself},
    {"c-plan-ahead", Fate::needless, "not needed: resync_rate_min and resync_rate_max are the limits"},
    {"c-fill-target", Fate::needless, "not needed: resync_rate_min and resync_rate_max are the limits"},
    {"c-delay-target", Fate::needless, "not needed: resync_rate_min and resync_rate_max are the limits"},
    {"fencing", Fate::needless, "not needed: a lost peer is voted out before another write is answered"},
    {"outdate-peer", Fate::needless, "not needed: a lost peer is voted out before another write is answered"},
    {"fence-peer", Fate::needless, "not needed: a lost peer is voted out before another write is answered"},
    {"after-resync-target", Fate::needless, "not needed: a copy that is not in sync never serves"},
    {"before-resync-target", Fate::lost, no_handlers},
    {"pri-on-incon-degr", Fate::lost, no_handlers},
    {"pri-lost-after-sb", Fate::lost, no_handlers},
    {"pri-lost", Fate::lost, no_handlers},
    {"local-io-error", Fate::lost, no_handlers},
    {"split-brain", Fate::lost, no_handlers},
    {"initial-split-brain", Fate::lost, no_handlers},
    {"out-of-sync", Fate::lost, no_handlers},
    {"wfc-timeout", Fate::needless, by_record},
    {"degr-wfc-timeout", Fate::needless, by_record},
    {"outdated-wfc-timeout", Fate::needless, by_record},
    {"wait-after-sb", Fate::needless, by_record},
    {"become-primary-on", Fate::needless, by_record},
    {"no-disk-barrier", Fate::lost, "a flush reaches both media, always"},
    {"no-disk-flushes", Fate::lost, "a flush reaches both media, always"},
    {"no-md-flushes", Fate::lost, "a flush reaches both media, always"},
    {"no-disk-drain", Fate::lost, "a flush reaches both media, always"},
    {"disk-barrier", Fate::lost, "a flush reaches both media, always"},
    {"disk-flushes", Fate::lost, "a flush reaches both media, always"},
    {"md-flushes", Fate::lost, "a flush reaches both media, always"},
    {"allow-two-primaries", Fate::lost, "one node serves at a time"},
    {"size", Fate::lost, "a device has its own size; the smaller one counts"},
    {"usage-count", Fate::needless, "not needed"},
    {"minor-count", Fate::needless, "not needed"},
    {"dialog-refresh", Fate::needless, "not needed"},
    {"disable-ip-verification", Fate::needless, "not needed"},
    {"node-id", Fate::needless, "not needed: nodes are a and b"},
};

constexpr std::string_view option_sections[] = {"net",     "syncer", "disk",    "handlers",
                                                "startup", "global", "options", "common"};

bool is_option_section(const DrbdStatement& statement) {
  return statement.block && std::ranges::find(option_sections, statement.words[0]) != std::end(option_sections);
}

class DrbdImport {
 public:
  DrbdImport(PairDraft& draft, const PairFile& file) : draft_(draft), file_(file) {}

  void run() {
    const DrbdText text = parse_drbd(file_.text);
    if (text.broken_line != 0)
      draft_.lost({file_.name, text.broken_line}, "braces", "something is missing or too much near this line");
    for (const DrbdStatement& statement : text.statements) top(statement);
    if (!protocol_.empty() && protocol_ != "C") draft_.settings.emplace("protocol", protocol_);
  }

 private:
  // The parts of a volume, of a resource and of its hosts.
  struct Part {
    std::string device, disk;
  };
  using Parts = std::map<std::string, Part>;  // by volume; "" where there are none

  [[nodiscard]] PairDraft::Spot at(const DrbdStatement& statement) const { return {file_.name, statement.line}; }
  void lost(const DrbdStatement& statement, std::string_view why) {
    draft_.lost(at(statement), joined(statement.words), why);
  }
  void note(const DrbdStatement& statement, std::string_view why) {
    draft_.note(at(statement), joined(statement.words), why);
  }

  void top(const DrbdStatement& statement) {
    const std::string& key = statement.words[0];
    if (key == "include") return lost(statement, "is not read: put the files together first (cat)");
    if (key == "skip") return note(statement, "was skipped before too");
    if (key == "resource" && statement.block && statement.words.size() == 2) return resource(statement);
    if (is_option_section(statement)) return options(statement, key);
    lost(statement, "is unknown here");
  }

  void options(const DrbdStatement& section, const std::string& name) {
    for (const DrbdStatement& statement : section.inner) {
      if (is_option_section(statement))
        options(statement, statement.words[0]);
      else
        option(statement, name);
    }
  }

  void option(const DrbdStatement& statement, std::string_view section) {
    const std::string& key = statement.words[0];
    const std::string value = statement.words.size() > 1 ? statement.words[1] : "";
    if (key == "protocol") return protocol(statement, value);
    // The secret itself stays where it is.
    if (key == "shared-secret") return draft_.note(at(statement), key, by_key_file);
    if (key == "tls") {
      if (value == "yes") draft_.settings["stream_auth"] = "tls";
      return;
    }
    if (key == "become-primary-on" && value == "both") return lost(statement, "one node serves at a time");
    if (key == "resync-rate" || key == "c-max-rate" || (key == "rate" && section == "syncer"))
      return rate(statement, "resync_rate_max", value);
    if (key == "c-min-rate") return rate(statement, "resync_rate_min", value);
    if (key == "on-io-error") {
      if (value == "detach") return note(statement, "as it is here: the peer serves instead");
      return lost(statement, "a failed medium is left out, and the peer serves instead");
    }
    if (key.starts_with("after-sb-") || key == "rr-conflict") {
      if (value == "disconnect") return note(statement, by_view);
      return lost(statement, "a split is never resolved by itself: mptargetctl cluster connect --discard-my-data");
    }
    const auto* const place = std::ranges::find(known, key, &Known::key);
    if (place == std::end(known)) return lost(statement, "is unknown here");
    return place->fate == Fate::lost ? lost(statement, place->why) : note(statement, place->why);
  }

  void protocol(const DrbdStatement& statement, const std::string& value) {
    const std::string letter = value == "a" ? "A" : value == "b" ? "B" : value == "c" ? "C" : value;
    if (letter != "A" && letter != "B" && letter != "C") return lost(statement, "is none: C is used");
    if (!protocol_.empty() && protocol_ != letter) {
      lost(statement, fmt::format("is of the whole pair: {} was said too, and the stricter is used", protocol_));
    } else if (letter != "C") {
      note(statement, "as there, but that a flush and a write with FUA are answered when both nodes have them");
    }
    protocol_ = std::max(protocol_, letter);
  }

  // A bare number counts KiB.
  void rate(const DrbdStatement& statement, const char* key, const std::string& value) {
    const auto bytes = parse_size(value, 1024);
    if (!bytes) return lost(statement, bytes.error());
    const std::string text = format_size(*bytes);
    const auto [place, fresh] = draft_.settings.emplace(key, text);
    if (!fresh && place->second != text)
      lost(statement, fmt::format("{} is of the whole pair: {} was said before", key, place->second));
  }

  void resource(const DrbdStatement& statement) {
    Parts shared;
    std::array<Parts, 2> own;
    std::array<bool, 2> named{};
    for (const DrbdStatement& inner : statement.inner) {
      if (inner.words[0] == "on" && inner.block && inner.words.size() == 2) {
        const std::size_t index = draft_.host(inner.words[1]);
        if (index >= own.size()) {
          lost(inner, "a pair has two nodes");
          continue;
        }
        named[index] = true;
        host(inner, index, own[index]);
      } else if (!part(inner, shared)) {
        inside(inner);
      }
    }
    if (!named[0] || !named[1]) return lost(statement, "is not on two nodes");
    units(statement, shared, own);
  }

  void inside(const DrbdStatement& statement) {
    if (is_option_section(statement)) return options(statement, statement.words[0]);
    if (statement.words[0] == "protocol" && statement.words.size() > 1) return protocol(statement, statement.words[1]);
    if (statement.words[0] == "floating") return lost(statement, "a node has a name: on HOST");
    if (statement.words[0].starts_with("stacked"))
      return lost(statement, "a pair has two nodes, not a third behind them");
    lost(statement, "is unknown here");
  }

  // device, disk, meta-disk, alone or in a volume. False: something else.
  bool part(const DrbdStatement& statement, Parts& parts, const std::string& volume = "") {
    const std::string& key = statement.words[0];
    if (key == "volume" && statement.block && statement.words.size() == 2 && volume.empty()) {
      for (const DrbdStatement& inner : statement.inner) {
        if (!part(inner, parts, statement.words[1])) inside(inner);
      }
      return true;
    }
    if (statement.block || statement.words.size() < 2) return false;
    if (key == "device") {
      parts[volume].device = device(statement.words);
    } else if (key == "disk") {
      parts[volume].disk = statement.words[1];
    } else if (key == "meta-disk" || key == "flexible-meta-disk") {
      note(statement, statement.words[1] == "internal"
                          ? "not needed: the unit is larger than the device was, by the room at its end"
                          : "not needed: what a copy may lack is kept below /var/lib/mptarget");
    } else {
      return false;
    }
    return true;
  }

  // "/dev/drbd0", "/dev/drbd_r0 minor 0", "minor 0"
  static std::string device(const std::vector<std::string>& words) {
    for (std::size_t word = 1; word + 1 < words.size(); ++word) {
      if (words[word] == "minor") return "/dev/drbd" + words[word + 1];
    }
    return words[1];
  }

  void host(const DrbdStatement& section, std::size_t index, Parts& parts) {
    for (const DrbdStatement& statement : section.inner) {
      if (part(statement, parts)) continue;
      if (statement.words[0] == "address" && statement.words.size() > 1) {
        address(statement, index);
      } else {
        option(statement, "on");
      }
    }
  }

  // "10.11.55.51:7788", "ipv6 [fd00::1]:7788"
  void address(const DrbdStatement& statement, std::size_t index) {
    const bool has_family = statement.words.size() > 2;
    if (has_family && statement.words[1] != "ipv4" && statement.words[1] != "ipv6")
      return lost(statement, "only TCP over IPv4 and IPv6 is spoken");
    const auto portal = parse_portal(statement.words.back());
    if (!portal) return lost(statement, portal.error());
    draft_.link(index, portal->address);
    if (portal->port != 7788) note(statement, "all units share port 7788, UDP and TCP");
  }

  void units(const DrbdStatement& statement, const Parts& shared, const std::array<Parts, 2>& own) {
    std::set<std::string> volumes;
    for (const Parts* parts : {&shared, &own[0], &own[1]}) {
      for (const auto& [volume, part] : *parts) volumes.insert(volume);
    }
    // What stands outside of volumes goes for all of them.
    if (volumes.size() > 1) volumes.erase("");
    for (const std::string& volume : volumes) unit(statement, volume, volumes.size(), shared, own);
  }

  void unit(const DrbdStatement& statement, const std::string& volume, std::size_t volumes, const Parts& shared,
            const std::array<Parts, 2>& own) {
    const auto find = [&](std::size_t index, std::string Part::*member) {
      for (const Parts* parts : {&own[index], &shared}) {
        for (const std::string& key : {volume, std::string()}) {
          const auto place = parts->find(key);
          if (place != parts->end() && !(place->second.*member).empty()) return place->second.*member;
        }
      }
      return std::string();
    };
    const std::string name =
        unit_name_of_path(volumes == 1 ? statement.words[1] : fmt::format("{}-v{}", statement.words[1], volume));
    PairDraft::Unit unit{
        .name = name, .device = find(0, &Part::device), .disk = {find(0, &Part::disk), find(1, &Part::disk)}};
    for (const std::string& disk : unit.disk) {
      if (!disk.starts_with('/')) return lost(statement, "has no disk on one of the nodes");
    }
    if (std::ranges::find(draft_.units, unit.name, &PairDraft::Unit::name) != draft_.units.end())
      return lost(statement, "a resource of this name was there before");
    if (unit.disk[0] != unit.disk[1])
      draft_.lost(at(statement), fmt::format("disk {}", unit.disk[1]),
                  fmt::format("is called {} on the other node: give both the same name, for example by a symbolic link",
                              unit.disk[0]),
                  &unit);
    draft_.units.push_back(std::move(unit));
  }

  PairDraft& draft_;
  const PairFile& file_;
  std::string protocol_;  // the strictest that was said
};

}  // namespace

void take_drbd(PairDraft& draft, const PairFile& file) {
  DrbdImport(draft, file).run();
}

}  // namespace mpath::target
