#include "initiator/mpathadm_parse.hpp"

#include <fmt/format.h>
#include <getopt.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace mpath::adm {

std::string_view to_word(Group group) {
  switch (group) {
    case Group::all: return "all";
    case Group::automatic: return "automatic";
    case Group::manual: return "manual";
    case Group::onboot: return "onboot";
  }
  return "";
}

namespace {

// Options that have no letter of their own.
constexpr int option_json = 256;
constexpr int option_root = 257;

constexpr option long_options[] = {
    {"mode", required_argument, nullptr, 'm'},       {"portal", required_argument, nullptr, 'p'},
    {"targetname", required_argument, nullptr, 'T'}, {"interface", required_argument, nullptr, 'I'},
    {"op", required_argument, nullptr, 'o'},         {"type", required_argument, nullptr, 't'},
    {"name", required_argument, nullptr, 'n'},       {"value", required_argument, nullptr, 'v'},
    {"host", required_argument, nullptr, 'H'},       {"sid", required_argument, nullptr, 'r'},
    {"rescan", no_argument, nullptr, 'R'},           {"print", required_argument, nullptr, 'P'},
    {"discover", no_argument, nullptr, 'D'},         {"login", no_argument, nullptr, 'l'},
    {"loginall", required_argument, nullptr, 'L'},   {"logout", no_argument, nullptr, 'u'},
    {"logoutall", required_argument, nullptr, 'U'},  {"stats", no_argument, nullptr, 's'},
    {"killiscsid", required_argument, nullptr, 'k'}, {"debug", required_argument, nullptr, 'd'},
    {"show", no_argument, nullptr, 'S'},             {"version", no_argument, nullptr, 'V'},
    {"help", no_argument, nullptr, 'h'},             {"submode", required_argument, nullptr, 'C'},
    {"ip", required_argument, nullptr, 'a'},         {"packetsize", required_argument, nullptr, 'b'},
    {"count", required_argument, nullptr, 'c'},      {"interval", required_argument, nullptr, 'i'},
    {"index", required_argument, nullptr, 'x'},      {"portal_type", optional_argument, nullptr, 'A'},
    {"no_wait", no_argument, nullptr, 'W'},          {"json", no_argument, nullptr, option_json},
    {"root", required_argument, nullptr, option_root}, {nullptr, 0, nullptr, 0},
};

// The leading colon: getopt tells a missing argument from an unknown option.
constexpr const char* short_options = ":RlDVhm:a:b:c:C:p:P:T:H:i:I:U:k:L:d:r:n:v:o:sSt:ux:A:W";

struct Mode {
  std::string_view name;
  std::string_view letters;
};
constexpr std::array modes = {
    Mode{"discovery", "DSIPdmntplov"}, Mode{"discoverydb", "DSIPdmntplov"}, Mode{"node", "RsPIdmlSonvupTULW"},
    Mode{"session", "PiRdrmusonSv"},   Mode{"iface", "HIdnvmPoCabci"},      Mode{"fw", "dmlWnv"},
    Mode{"host", "CHdmPotnvxA"},
};

constexpr std::pair<std::string_view, Op> operations[] = {
    {"new", Op::create},       {"delete", Op::remove}, {"update", Op::update}, {"show", Op::show},     {"nonpersistent", Op::nonpersistent},
    {"apply", Op::apply},      {"applyall", Op::applyall}, {"login", Op::login}, {"logout", Op::logout},
};

constexpr std::size_t iface_name_max = 64;

struct Given {  // one option with its argument
  int letter = 0;
  std::string argument;
};

// Everything of the line, not yet sorted by mode.
struct Raw {
  std::string_view mode;
  std::optional<DiscoveryType> type;
  std::optional<PortalArgument> portal;
  std::string target;
  std::vector<std::string> ifaces;
  std::vector<Assignment> assignments;
  Ops ops;
  std::optional<unsigned> sid;
  std::optional<std::string> submode;
  std::optional<std::string> login_all, logout_all;
  std::optional<int> print_level;
  bool login = false, logout = false, rescan = false, stats = false, discover = false;
};

std::unexpected<UsageError> wrong(std::string line, bool offer_help = false) {
  return std::unexpected(UsageError{.line = std::move(line), .offer_help = offer_help});
}

template <typename Number>
std::optional<Number> whole_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// --- dashes that are not hyphens -------------------------------------------------------------------------------------

// Characters that text programs put in a hyphen's place, in UTF-8.
constexpr std::string_view false_dashes[] = {
    "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\u2043", "\u00ad", "\ufe58", "\ufe63", "\uff0d",
};

// What stands after the dashes, when `word` starts with dashes and at least one of them is false.
std::optional<std::string_view> after_false_dashes(std::string_view word) {
  bool any = false;
  for (;;) {
    const auto dash = std::ranges::find_if(false_dashes, [&](std::string_view d) { return word.starts_with(d); });
    if (dash != std::end(false_dashes)) {
      word.remove_prefix(dash->size());
      any = true;
    } else if (word.starts_with('-')) {
      word.remove_prefix(1);
    } else {
      break;
    }
  }
  if (!any) return std::nullopt;
  return word;
}

std::string with_hyphens(std::string_view word) {
  const auto rest = after_false_dashes(word);
  if (!rest) return std::string(word);
  const std::string_view name = rest->substr(0, rest->find('='));
  const bool is_long = name.size() > 1 && std::ranges::any_of(long_options, [&](const option& o) {
                         return o.name != nullptr && std::string_view(o.name).starts_with(name);
                       });
  return fmt::format("{}{}", is_long ? "--" : "-", *rest);
}

std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return std::isalnum(c) || std::string_view("-_=.,:/[]@%+").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

UsageError false_dash_error(std::span<const std::string> words, const std::string& culprit) {
  std::string corrected = words.empty() ? "mpathadm" : words[0].substr(words[0].rfind('/') + 1);
  for (const auto& word : words.subspan(std::min<std::size_t>(1, words.size()))) corrected += " " + quoted(with_hyphens(word));
  return UsageError{.line = fmt::format("'{}' starts with a typographic dash, as text programs put it; type: {}", culprit, corrected)};
}

// --- getopt ----------------------------------------------------------------------------------------------------------

std::string option_complaint(int result, const std::string& word) {
  if (!word.starts_with("--")) {
    return result == ':' ? fmt::format("option requires an argument -- '{}'", static_cast<char>(optopt))
                         : fmt::format("invalid option -- '{}'", static_cast<char>(optopt));
  }
  const std::string name = word.substr(2, word.find('=') == std::string::npos ? word.npos : word.find('=') - 2);
  if (result == ':') return fmt::format("option '--{}' requires an argument", name);
  if (optopt != 0) return fmt::format("option '--{}' does not take an argument", name);
  std::string candidates;
  for (const option& o : long_options) {
    if (o.name != nullptr && std::string_view(o.name).starts_with(name)) candidates += fmt::format(" --{}", o.name);
  }
  return candidates.empty() ? fmt::format("unrecognized option '--{}'", name)
                            : fmt::format("option '--{}' is ambiguous:{}", name, candidates);
}

std::expected<std::vector<Given>, UsageError> split(std::span<const std::string> words) {
  std::vector<std::string> copies(words.begin(), words.end());
  std::vector<char*> argv;
  for (auto& word : copies) argv.push_back(word.data());
  const int argc = static_cast<int>(argv.size());
  argv.push_back(nullptr);

  std::vector<Given> given;
  std::optional<std::string> complaint;
  optind = 0;  // glibc: start over
  opterr = 0;
  for (;;) {
    optopt = 0;
    const int before = std::max(optind, 1);
    const int result = getopt_long(argc, argv.data(), short_options, long_options, nullptr);
    if (result == -1) break;
    if (result == '?' || result == ':') {
      const int at = std::clamp(optind > before ? optind - 1 : optind, 1, argc - 1);
      const std::string word = argv[static_cast<std::size_t>(at)];
      if (after_false_dashes(word)) return std::unexpected(false_dash_error(words, word));
      if (!complaint) complaint = option_complaint(result, word);
      continue;
    }
    given.push_back({result, optarg == nullptr ? std::string() : std::string(optarg)});
  }

  // What is left over is where an option was meant, or a word too many. Empty words come from unset shell variables.
  for (int i = optind; i < argc; ++i) {
    const std::string word = argv[static_cast<std::size_t>(i)];
    if (after_false_dashes(word)) return std::unexpected(false_dash_error(words, word));
  }
  if (complaint) return wrong(*complaint, true);
  for (int i = optind; i < argc; ++i) {
    const std::string word = argv[static_cast<std::size_t>(i)];
    if (!word.empty()) return wrong(fmt::format("unexpected argument '{}'", word), true);
  }
  return given;
}

// --- arguments -------------------------------------------------------------------------------------------------------

// ip[:port][,tpgt], [v6][:port][,tpgt], v6, name[:port][,tpgt]
std::expected<PortalArgument, UsageError> portal_argument(const std::string& text) {
  const auto bad = [&](std::string_view why) { return wrong(fmt::format("invalid portal '{}': {}", text, why)); };
  PortalArgument portal;
  std::string_view rest = text;
  std::string_view tail;  // ":port,tpgt"
  if (rest.starts_with('[')) {
    const auto close = rest.find(']');
    if (close == rest.npos) return bad("no closing bracket");
    portal.address = rest.substr(1, close - 1);
    tail = rest.substr(close + 1);
    if (!tail.empty() && tail[0] != ':' && tail[0] != ',') return bad("':' or ',' must follow the bracket");
  } else {
    const std::string_view before_comma = rest.substr(0, rest.find(','));
    const bool bare_ipv6 = std::ranges::count(before_comma, ':') > 1;
    const auto end = bare_ipv6 ? rest.find(',') : rest.find_first_of(":,");
    portal.address = rest.substr(0, end);
    tail = end == rest.npos ? std::string_view() : rest.substr(end);
  }
  if (portal.address.empty()) return bad("no address");
  if (portal.address.find_first_of(" \t\n'\"/") != std::string::npos) return bad("not an address");
  if (tail.starts_with(':')) {
    const auto port = whole_number<std::uint16_t>(tail.substr(1, tail.find(',') == tail.npos ? tail.npos : tail.find(',') - 1));
    if (!port || *port == 0) return bad("the port is a number from 1 to 65535");
    portal.port = port;
    tail = tail.find(',') == tail.npos ? std::string_view() : tail.substr(tail.find(','));
  }
  if (tail.starts_with(',')) {
    const auto tpgt = whole_number<int>(tail.substr(1));
    if (!tpgt || *tpgt < -1 || *tpgt > 65535) return bad("the portal group tag is a number up to 65535");
    portal.tpgt = tpgt;
  }
  return portal;
}

// A number, or a path of sysfs whose last part is sessionN.
std::optional<unsigned> sid_argument(std::string_view text) {
  while (text.ends_with('/')) text.remove_suffix(1);
  if (text.find('/') != text.npos) {
    text.remove_prefix(text.rfind('/') + 1);
    if (!text.starts_with("session")) return std::nullopt;
    text.remove_prefix(std::string_view("session").size());
  }
  return whole_number<unsigned>(text);
}

std::optional<DiscoveryType> type_argument(std::string_view word) {
  if (word == "sendtargets" || word == "st") return DiscoveryType::sendtargets;
  if (word == "isns") return DiscoveryType::isns;
  if (word == "fw") return DiscoveryType::firmware;
  return std::nullopt;
}

std::optional<Group> group_argument(std::string_view word) {
  for (const Group group : {Group::all, Group::automatic, Group::manual, Group::onboot}) {
    if (word == to_word(group)) return group;
  }
  return std::nullopt;
}

// --- modes -----------------------------------------------------------------------------------------------------------

std::optional<UsageError> check_level(const Raw& raw, int highest) {
  if (!raw.print_level || (*raw.print_level >= 0 && *raw.print_level <= highest)) return std::nullopt;
  return UsageError{.line = fmt::format("Invalid info level {}. Try 0 - {}.", *raw.print_level, highest)};
}

std::expected<Command, UsageError> discovery_command(const Raw& raw) {
  return DiscoveryCommand{.database = raw.mode == "discoverydb",
                          .type = raw.type,
                          .portal = raw.portal,
                          .ifaces = raw.ifaces,
                          .ops = raw.ops,
                          .assignments = raw.assignments,
                          .discover = raw.discover,
                          .login = raw.login};
}

std::expected<Command, UsageError> node_command(const Raw& raw) {
  NodeCommand command{.target = raw.target, .portal = raw.portal, .assignments = raw.assignments};
  if (!raw.ifaces.empty()) command.iface = raw.ifaces.front();
  const auto act = [&](NodeAction action) {
    command.action = action;
    return Command(command);
  };
  if (raw.login_all) {
    const auto group = group_argument(*raw.login_all);
    if (!group) return wrong(fmt::format("Invalid loginall option {}.", *raw.login_all), true);
    command.group = *group;
    return act(NodeAction::login_all);
  }
  if (raw.logout_all) {
    const auto group = group_argument(*raw.logout_all);
    if (!group || *group == Group::onboot) return wrong(fmt::format("Invalid logoutall option {}.", *raw.logout_all), true);
    command.group = *group;
    return act(NodeAction::logout_all);
  }
  if (raw.ifaces.size() > 1) return wrong("node mode accepts only one interface");
  if (raw.ops.only(Op::create)) return act(NodeAction::create);
  if (raw.rescan) return act(NodeAction::rescan);
  if (raw.stats) return act(NodeAction::stats);
  if (raw.login && raw.logout) return wrong("Invalid parameters. Both login and logout passed in");
  if ((raw.login || raw.logout) && !raw.ops.empty()) return wrong("Invalid parameters. Login/logout and op passed in");
  if (raw.login) return act(NodeAction::login);
  if (raw.logout) return act(NodeAction::logout);
  if (raw.ops.show_or_none()) {
    const bool everything = raw.target.empty() && !raw.portal && raw.ifaces.empty();
    return act(everything && raw.ops.empty() ? NodeAction::list : NodeAction::show);
  }
  if (raw.ops.only(Op::update)) {
    if (raw.assignments.empty()) return wrong("update requires name and value");
    return act(NodeAction::update);
  }
  if (raw.ops.only(Op::remove)) return act(NodeAction::remove);
  return wrong("operation is not supported.");
}

std::expected<Command, UsageError> session_command(const Raw& raw) {
  SessionCommand command{.sid = raw.sid, .assignments = raw.assignments};
  const auto act = [&](SessionAction action) {
    command.action = action;
    return Command(command);
  };
  if (raw.ops.only(Op::create)) {
    if (!raw.sid) return wrong("session mode: Operation 'new' only allowed with specific session IDs");
    return act(SessionAction::clone);
  }
  if (raw.rescan) return act(SessionAction::rescan);
  if (raw.stats) return act(SessionAction::stats);
  if (raw.logout && !raw.ops.empty()) return wrong("Invalid parameters. Login/logout and op passed in");
  if (raw.logout) return act(SessionAction::logout);
  if (raw.ops.show_or_none()) {
    const bool tree = raw.print_level.value_or(0) > 0 && raw.ops.empty();
    return act(raw.sid && !tree ? SessionAction::show : SessionAction::list);
  }
  if (!raw.sid) return act(SessionAction::list);  // as iscsiadm does: other operations need a session
  if (raw.ops.only(Op::update)) {
    if (raw.assignments.empty()) return wrong("update requires name and value");
    return act(SessionAction::update);
  }
  if (raw.ops.only(Op::remove)) return act(SessionAction::remove);
  return wrong("operation is not supported.");
}

std::expected<Command, UsageError> iface_command(const Raw& raw) {
  IfaceCommand command{.assignments = raw.assignments};
  if (raw.ifaces.size() > 1) return wrong("iface mode accepts only one interface");
  if (!raw.ifaces.empty()) command.name = raw.ifaces.front();
  const auto act = [&](IfaceAction action) {
    command.action = action;
    return Command(command);
  };
  if (raw.submode) return UnsupportedCommand{fmt::format("submode {} (of offload cards)", *raw.submode)};
  if (raw.ops.only(Op::create)) {
    if (!command.name) return wrong("Could not add interface. No interface passed in.");
    return act(IfaceAction::create);
  }
  if (raw.ops.only(Op::remove)) {
    if (!command.name) return wrong("Could not delete interface. No interface passed in.");
    return act(IfaceAction::remove);
  }
  if (raw.ops.only(Op::update)) {
    if (!command.name || command.assignments.empty()) return wrong("Update requires name, value, and iface.");
    return act(IfaceAction::update);
  }
  if (raw.ops.only(Op::apply)) return UnsupportedCommand{"operation apply (of offload cards)"};
  if (raw.ops.only(Op::applyall)) return UnsupportedCommand{"operation applyall (of offload cards)"};
  if (!raw.ops.show_or_none()) return wrong("operation is not supported.");
  return act(command.name ? IfaceAction::show : IfaceAction::list);
}

std::expected<Command, UsageError> host_command(const Raw& raw) {
  if (!raw.submode) return HostCommand{};
  for (const std::string_view known : {"chap", "flashnode", "stats"}) {
    if (*raw.submode == known) return UnsupportedCommand{fmt::format("submode {} (of offload cards)", known)};
  }
  return wrong(fmt::format("Invalid Sub Mode '{}'", *raw.submode));
}

std::expected<Command, UsageError> command_of_mode(const Raw& raw) {
  const bool session = raw.mode == "session";
  const int highest = session ? 3 : raw.mode == "host" ? 4 : 1;
  if (auto error = check_level(raw, highest)) return std::unexpected(*error);
  if (raw.mode == "node") return node_command(raw);
  if (session) return session_command(raw);
  if (raw.mode == "iface") return iface_command(raw);
  if (raw.mode == "fw") return FirmwareCommand{.login = raw.login};
  if (raw.mode == "host") return host_command(raw);
  return discovery_command(raw);
}

// Puts one option into its place.
std::optional<UsageError> take(const Given& given, Raw& raw, CommandLine& line) {
  const std::string& argument = given.argument;
  switch (given.letter) {
    case 'R': raw.rescan = true; break;
    case 'l': raw.login = true; break;
    case 'u': raw.logout = true; break;
    case 's': raw.stats = true; break;
    case 'D': raw.discover = true; break;
    case 'S': line.show_secrets = true; break;
    case 'W': line.wait = false; break;
    case 'T': raw.target = argument; break;
    case 'C': raw.submode = argument; break;
    case 'L': raw.login_all = argument; break;
    case 'U': raw.logout_all = argument; break;
    case 't': raw.type = type_argument(argument); break;
    case option_json: line.json = true; break;
    case option_root: line.root = argument; break;
    case 'o': {
      const auto known = std::ranges::find(operations, argument, &std::pair<std::string_view, Op>::first);
      if (known == std::end(operations)) return UsageError{.line = fmt::format("can not recognize operation: '{}'", argument)};
      raw.ops.add(known->second);
      break;
    }
    case 'r': {
      raw.sid = sid_argument(argument);
      if (!raw.sid) return UsageError{.line = fmt::format("invalid sid '{}'", argument)};
      break;
    }
    case 'P': {
      raw.print_level = whole_number<int>(argument);
      if (!raw.print_level) return UsageError{.line = fmt::format("Invalid info level {}.", argument)};
      break;
    }
    case 'd': {
      const auto level = whole_number<int>(argument);
      if (!level || *level < 0 || *level > 8) return UsageError{.line = fmt::format("Invalid debug level {}. Try 0 - 8.", argument)};
      line.debug_level = *level;
      break;
    }
    case 'p': {
      auto portal = portal_argument(argument);
      if (!portal) return portal.error();
      raw.portal = std::move(*portal);
      break;
    }
    case 'I': {
      const bool fits = !argument.empty() && argument.size() <= iface_name_max && argument.find('/') == std::string::npos;
      if (!fits) {
        return UsageError{.line = fmt::format("Invalid iface name {}. Must be from 1 to {} characters.", argument, iface_name_max)};
      }
      raw.ifaces.push_back(argument);
      break;
    }
    default: break;  // options of offload cards: taken, without effect
  }
  return std::nullopt;
}

// -n and -v in any order, as often as wanted: each pair is complete when both of it were given.
std::vector<Assignment> pair_up(std::span<const Given> given) {
  std::vector<Assignment> pairs;
  std::optional<std::string> name, value;
  for (const auto& [letter, argument] : given) {
    if (letter == 'n') name = argument;
    if (letter == 'v') value = argument;
    if (name && value) {
      pairs.push_back({std::move(*name), std::move(*value)});
      name.reset();
      value.reset();
    }
  }
  return pairs;
}

std::expected<CommandLine, UsageError> stop_daemon(const std::string& priority, CommandLine line) {
  const auto number = whole_number<int>(priority);
  if (!number || *number < 0) {
    return wrong(fmt::format("Invalid killiscsid priority {} Priority must be greater than or equal to zero.", priority));
  }
  if (*number != 0) return wrong(fmt::format("Invalid iscsid priority {}. Priority must be 0.", priority));
  line.command = StopDaemonCommand{};
  return line;
}

}  // namespace

std::string_view letters_of_mode(std::string_view mode) {
  const auto known = std::ranges::find(modes, mode, &Mode::name);
  return known == modes.end() ? std::string_view() : known->letters;
}

std::vector<OptionName> option_names() {
  std::vector<OptionName> names;
  for (const option& o : long_options) {
    if (o.name != nullptr) names.push_back({o.val < 256 ? static_cast<char>(o.val) : '\0', o.name});
  }
  return names;
}

std::expected<CommandLine, UsageError> parse(std::span<const std::string> words) {
  const auto given = split(words);
  if (!given) return std::unexpected(given.error());
  const auto last = [&](int letter) -> const Given* {
    const Given* found = nullptr;
    for (const auto& one : *given) found = one.letter == letter ? &one : found;
    return found;
  };

  CommandLine line;
  if (last('h') != nullptr) {
    line.command = HelpCommand{};
    return line;
  }
  if (last('V') != nullptr) {
    line.command = VersionCommand{};
    return line;
  }
  Raw raw;
  if (const Given* mode = last('m')) {
    raw.mode = mode->argument;
    const std::string_view letters = letters_of_mode(raw.mode);
    if (letters.empty()) return wrong(fmt::format("{} mode is unknown/unsupported", raw.mode));
    for (const auto& [letter, argument] : *given) {
      if (letter < 256 && letters.find(static_cast<char>(letter)) == letters.npos) {
        return wrong(fmt::format("{} mode: option '-{}' is not allowed/supported", raw.mode, static_cast<char>(letter)));
      }
    }
  }
  for (const auto& one : *given) {
    if (auto error = take(one, raw, line)) return std::unexpected(*error);
  }
  if (const Given* kill = last('k')) return stop_daemon(kill->argument, std::move(line));
  if (raw.mode.empty()) return wrong("no mode specified", true);

  raw.assignments = pair_up(*given);
  line.print_level = raw.print_level.value_or(0);
  auto command = command_of_mode(raw);
  if (!command) return std::unexpected(command.error());
  line.command = std::move(*command);
  return line;
}

std::string help_text() {
  return "mpathadm -m discoverydb [-d level] [-P level] [-S] [-t type -p portal [-I iface ...] [-lD]] | "
         "[[-t type -p portal] [-o operation ...] [-n name -v value ...]]\n"
         "mpathadm -m discovery [-d level] [-P level] [-S] [-t type -p portal [-I iface ...] [-l]] | [-p portal [-lD] [-o operation]]\n"
         "mpathadm -m node [-d level] [-P level] [-S] [-W] [-L all|automatic|manual|onboot] [-U all|automatic|manual] "
         "[[-T target -p portal -I iface] [-l | -u | -R | -s] [-o operation [-n name -v value ...]]]\n"
         "mpathadm -m session [-d level] [-P level] [-S] [-r sid] [-R | -u | -s] [-o operation [-n name -v value ...]]\n"
         "mpathadm -m iface [-d level] [-P level] [-I iface] [-o operation [-n name -v value ...]]\n"
         "mpathadm -m fw | host\n"
         "mpathadm -k 0\n"
         "mpathadm -h | -V\n"
         "\n"
         "  -m, --mode MODE           discovery, discoverydb, node, session, iface, fw, host\n"
         "  -t, --type TYPE           sendtargets (st)\n"
         "  -p, --portal PORTAL       address[:port][,tpgt]; IPv6 in brackets; or a host name\n"
         "  -T, --targetname NAME     the target's name\n"
         "  -I, --interface IFACE     an iface record; more than once in discovery\n"
         "  -o, --op OPERATION        new, delete, update, show, nonpersistent\n"
         "  -n, --name KEY            a setting; goes with -v and may be repeated\n"
         "  -v, --value VALUE         its value\n"
         "  -r, --sid SID             one session\n"
         "  -D, --discover            run the discovery of a record\n"
         "  -l, --login               log in\n"
         "  -u, --logout              log out\n"
         "  -L, --loginall GROUP      log in to all records of a startup group\n"
         "  -U, --logoutall GROUP     log out of all sessions of a startup group\n"
         "  -R, --rescan              look at sessions' disks again\n"
         "  -s, --stats               counters of sessions\n"
         "  -P, --print LEVEL         more in the listing\n"
         "  -S, --show                passwords in the clear\n"
         "  -W, --no_wait             do not wait for logins\n"
         "  -d, --debug LEVEL         0 to 8\n"
         "  -k, --killiscsid 0        stop the daemon\n"
         "  -V, --version             print the version\n"
         "  -h, --help                print this\n"
         "      --json                listings as JSON\n"
         "      --root DIR            use DIR in place of /\n"
         "\n"
         "  -H, --host  -C, --submode  -a, --ip  -b, --packetsize  -c, --count  -i, --interval  -x, --index  -A, --portal_type\n"
         "                            of offload cards: read, not supported\n";
}

}  // namespace mpath::adm
