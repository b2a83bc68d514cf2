// The words of codes: 2,048 of EFF's long word list (https://www.eff.org/dice, CC BY 3.0 US), as in Python.
export const WORDS = `
abacus abdomen abiding ability ablaze able abreast abridge abroad absence absolve abstain absurd
accent acclaim account acetone aching acid acorn acre acrobat action actress acts acutely aerosol
afar affix afford affront aflame afoot aged ageless agent aghast agile aging agony agreed ahoy
aide alarm album alfalfa algebra alias alibi aliens alike almanac almost aloe aloft aloof alright
alto alumni amaze amber ambush amends amiable amigo ammonia amnesty among amount ample amuck
amulet amused anagram anchor ancient android anemic anew anger angled angrily angular anime ankle
annex annuity another antacid anthem antics antler antonym antsy anvil anybody anymore anyone
aorta apostle appear apply approve april apron aqua area argue armband armed armful armhole arming
armless armory army arose around arrange arrest arrive ascend ashamed ashen ashy askew aspect
aspire astound astride astute atlas atom atrium atrophy attain attest attic audible august author
avatar avenge avert avoid await awaken award awkward awning axis babble babied baboon backer bacon
badge badly badness baffle bagel bagful baggy bagpipe baked baking balance balcony balmy bamboo
banana banish banjo banner barbed barcode barista barley barman barn bash basil basket batboy
batch bats battle bazooka blabber blade blah blaming blank blazer blemish bless bling blip blitz
bloated blob blooper bluff blurb boaster boat bobbing bobcat bobsled bobtail body bogged bogus
bonanza bonding boned bonfire book booted borax boring borough botany bottom bovine boxcar boxer
boxlike breeder briar bribe brick bridged brigade brim brisket brittle broaden broiler broken
bronco brush brute bucket budding budget buffed bulge bulk bulldog bunch bundle bunkbed bunny bunt
busboy busload cabana cabbage caboose cackle cacti caddy cadet cadmium cage cahoots calcium
caliber calm calzone camera camper canal cancel candle canned canon canteen capable capital
capsize caption carat carbon carded cargo caring carless carol carpool carry cartel carve cascade
casino catalog catchy caterer catfish catlike catnap catsup caucus causal cavalry cavity cedar
celery cement census certify chain chamber chant chaps charm chasing chatter cheddar chef chemist
chest chevron chip choking chomp churn cinema circle citadel citizen citrus city civic clad clamp
clang clapper clarify clash clear clench clerk clever clicker client climate cloak cloning closure
clothes clubbed clumsy clutch coastal cobalt cobbler coconut coexist coil coke collage colt coma
comfy comic common compel comrade conch condone confess conical conjure consent contact convene
copier cork corned coroner correct corset cortex cosmos cotton country cover coyness cozy cradle
crafty crank craving crazy creamed credit creed crept crested crevice crewman crib crier crimp
crinkle crispy critter crop crouton crowbar crucial cruelty crumb crushed crux cryptic crystal
cube cubical cuddle culprit culture cupcake cupid curable curled cursor curtsy cusp cussed custard
cycle cymbal dagger dance dandy dangle dares darkish darling dart data dating dawdler dawn daybed
daylong daytime dazzler deacon dealt debit debrief debtor debug decaf deceit decibel deck decline
decode decree deduce deed deepen deface defense defile deflate defog defraud deftly defy delouse
deluge demise demote denim density dental depict deploy deport depress depth derived deserve
desktop despair destiny detail detest detract deviant diagram dial diaper dice dictate dimly
dimmed dimness dimple diner dingo dining diocese dioxide diploma dipped disarm disband discard
disdain disjoin disk dislike dismay disown display disrupt distant ditch ditzy divided doable
docile dodge dollar dolphin domain donated donut doodle doorman dorsal dosage dotted drab drained
drapery drastic dreamt drench drew dribble dried drift driller drippy driven drone drool droplet
drudge drum duchess ducking duct dugout dumping dupe duplex during dutiful duvet dwarf dwelled
dwindle dynamic each eagle earache eardrum earful early earmark earring earshot earthy earwig
easel easing easter eatable eaten ebony ecard eclair eclipse ecology economy edge edging editor
effects effort eggnog egotism eject elastic elated elbow eldest eleven elite elixir elope elude
elusive elves email embark emblem embody emcee emerald emit emperor empower empty enable enamel
enclose encode encrust ended ending endless endnote endorse energy engaged engine engorge engross
engulf enhance enjoyer enrich enroll ensnare ensure entail entire entomb entrap entwine envious
envy enzyme epic episode equal equity erased errand error erupt esquire essay essence estate
etching eternal ethanol ether ethics evade evasion even evict evident evil evoke evolve exact
exalted example excess exclaim excuse exert exhaust exhume exile exodus expand expel expire
explain expose express extent extinct extras fabric faceted facial factor faculty fade fading
falcon fall false family fanatic fancy fanfare fang fanning fantasy fasting favored feast federal
fedora feeble feline femur fencing fender ferment fervor fester fetch fever fiber fiction fiddle
fidgety fifth figment figure filing film filter finale finch finless five flagman flail flakily
flanked flap flaring flask flatly fled fleshed flier flirt float floral flyable flyover foam folk
fondly font footage fragile framing frantic frays freebee frenzy fretful friday friend frill
fringe frisk frolic from frosty froth frown frozen gains gala gallon game gaming gander gangly
garage garden gargle garlic garment garnish garter gauging gawk gear geiger generic genre gents
geology gerbil gesture getting getup giblet giddily gift giggle gills gimmick girdle given giving
gizmo gizzard glacial gladly glamour glance glare glazing gleeful glider glimpse glisten glitch
gloater gloomy glorify glowing glucose gluten gnarly gnat goes goggles going golf goliath gondola
gone good gooey gopher gorged gosling gossip gothic gotten gout graded grafted grain grant grape
grasp gratify gravy grid grime grinch gristle grouped growl grub gruffly grumble grunge guiding
gulp gumball gumdrop gusto gutless guts gutter guzzler habitat hacked haggler haiku half halogen
halved hamlet hammock hamster handed hangup happier harbor hardy harmony harness harpist harsh
harvest hassle haste hatbox hatchet hatless haunt haven hazard hazing hazy headed heap heavily
hefty helium helmet helper hemlock hence henna herald herbs hermit heroics herring herself hertz
hexagon hubcap huff hula human humble humid hummus humvee hunger hunk hunting hurdle hurler hurry
hurt husband husked hybrid hydrant icing icky icon idiom idly igloo ignore iguana image imitate
immerse impart impeach impish imply impound imprint impure iodine ipod irate isotope issue italics
item ivory jackal janitor jargon jasmine java jaybird jeep jellied jersey jigsaw jinx jitters
joining jovial judge jugular jujitsu jukebox jumbo jump juniper junkman jurist juror justly kabob
kelp kept kettle kiln kindred kinetic kinfolk king kinship kitchen kite kiwi knee knelt kosher
krypton kudos labored ladder ladies ladle ladybug lagged lagoon lair lake landing lanky lantern
lapdog lapel lapped laptop lard large lasso last lather latrine launder laurel lavish lazily left
legal legend legible legroom legume legwork lemon lend length leotard lesser letdown lettuce level
liable liberty library life lifter likely liking lilac lily limb limes limit limping linked
linseed lint lion liquid lisp litmus little lived lividly lizard lucid lullaby lumber lumpish
lunar lung lurk luster luxury lyrics mace machine magenta maggot magical magnify majesty maker
malt mama mammal manager mandate mango manhunt manila mankind manlike manmade mannish manor mantis
many marbled march mardi margin marina mascot mashed masses mastiff matador matcher math matrix
matted maximum maybe moaning mobile mobster mockup modify module moisten molar mold mollusk monday
monitor monsoon monthly moody moonlit morse mortify most motion motor mounted mourner movable move
moving mower much mule mullets mummify mumps mundane muppet mural museum music mustang mutate
mutual muzzle myself nacho nail nape napkin napping narrow nastily native nature navy nearby
neatly nebula nectar negate nemeses neon nervy nest neuron niece nifty nimble ninja ninth nuclei
nullify numbing numeral nursery nurture nutcase nutlike nutmeg nutty nylon oasis object obliged
oblong oboe obscure obtain obtuse obvious occupy ocean ocelot octane october ogle oink okay olive
omega omen ominous onboard ongoing onion online only onset onshore onstage onto onward onyx oops
ooze opacity opal operate osmosis otter ought ounce outage outbid outcast outfit outgrow outing
outlet output outrank outsell outward overact oxford oxidant oxygen oyster paced pacify padded
padlock pager pajamas paltry panama pancake panic pants paprika papyrus paradox parcel pardon
parka parlor parole parsnip party passage pasta patient patrol pauper paving payback payday payee
payment pebble pecan pectin pelican pelt pelvis penalty pencil pendant penny penpal pension
percent perfume perjury perm pesky peso petal petite petri petted phantom phobia phoenix phony
placard plant plasma plating player plaza pledge plod pluck plug plunder plural poach poem pogo
pointy poison poker poking polygon pond popcorn pope poplar portal possum posted powdery prance
precut predict prefix pregame prelude premium prepay press pretext prevail primal print prior
prism private probing process prodigy profane progeny prong proofs props prorate proton proud
proved proxy prune psychic public pull pulsate pumice pummel pungent pupil purge purify purple
purr pursuit pushup putdown putt pyramid python qualify quantum quartet quicken quintet rabid
racing rack racoon radar radio raft railcar raisin ramble ramp ramrod ranch random ranged ranking
ransack rare rarity rascal rasping ravage ravine reactor ream rebate rebel rebirth reborn rebuff
recall recede recital reclaim recopy rectify reenact referee reflex refold refract refund regain
regime regress regular rejoice relax relearn relic reload rely remake remedy remix remnant remorse
rename renewal rented reopen reorder repair repeal replace repost reprint reps reptile request
rerun resale rescuer resend reshape resize resort respect result rethink retinal retool retry
return retype reunion reverb revise revolt reward rework rewrap ribcage riches rickety ridden
riding rifling rigging rigid rigor rimless rind rinsing riot ripcord riptide rise rival riveter
roaming robe robin robust rocker rogue roman roping roster rotting rotunda roundup routine rubber
rubdown rummage rumor runner runway rupture rust sabbath sacred saddled safely saffron saga
sagging said saint salad salon salsa salvage sandal sank sapling sappy sarcasm sardine satchel
satin savanna saved savings savor scabbed scalded scam scant scarf scholar scoff scone scoop
scorch scouts scrap screen scribe scroll scrunch scuba scuttle second secret sector sedan segment
seismic seldom self seltzer seminar senator septic series sermon serpent serve sesame setback
seventh shabby shack shaded shaft shale shampoo sharper shifter shimmer shindig shirt shorts shove
showbiz shrank shriek shrug shun sibling silent silicon silk silver sincere singer siren sister
sitcom sixfold sixth sizable size sizing sizzle skating sketch skewer skied skiing skilled skimmed
skipper skyline slab slacks slander sleep slept sliced sliding slimy slinky slit slogan sloped
sludge slurp small smartly smasher smirk smite smock smog smoked smolder smother smudgy smugly
snagged snaking snap snare snazzy snide sniff snippet snitch snooper snort snowcap snub snuggle
speak specks speller spent sphinx spider spill spiny spiral spleen splice splurge spoiled spoken
sponge spoof sporty spotted spout sprain sprig spruce spry spud sputter squash squeak stable
stadium staff stage stamp stand stark stash static steam steed stellar stench step sterile stick
stifle stilt stimuli stipend stir stole stoning stopped storm stratus strewn strict strobe strut
stubbed student stuffed stumble stung stupor sturdy stylus subdued subject sublet subpar subside
subtly suburb subzero suction sudoku suds suffix sugar suggest suing sulfate sultry supreme surfer
surgery surname surpass survive suspect swarm sway swiftly swirl symptom synapse synergy syrup
system tabasco tabby tables tacking taco tactful tadpole tainted talcum tamale tamer tannery
tantrum tapered tapioca taps target tarmac tarot tartar task tassel tasty tavern thank that thee
theft thermal thesis thicket thimble thing thirsty thorn those thread thrift throng thud thumb
thyself tidal tidbit tidings tiger tighten tigress tile timid timothy tinfoil tingle tinker tinsel
tinwork tiny tipoff tipper tiptop trace trading traffic tragedy trapeze travel tray treason treble
trekker tremor trend trial tribune triceps trident trilogy trinity tripod triumph trodden tropics
truck trump trunks tubular tuesday tulip tummy turf turtle tutor twelve twenty twig twins twisted
twitch tycoon udder ultra umpire unaired unawake unbaked unbend unblock unboxed uncanny uncheck
uncivil uncle uncork uncross uncut undated undead undone undress undying unease uneven unfair
unfixed unfold unglue ungodly unhappy unhinge unholy unicorn unify unison unit unkempt unkind
unknown unlaced unless unlined unloved unlucky unmade unmoral unnerve unpack unplug unreal unripe
unrobed unsafe unscrew unsent unsnap unstuck untaken until untrue untwist unused unvocal unwary
unwed unworn unzip upbeat upchuck update upfront upgrade upheld uphill upload upon upper upright
uproar upscale upside upstage upswing uptake uptown upward upwind urban urchin urgent urging
usable usage used usher usual utmost utopia vacant vastly vegan veggie velvet verify versus very
veto vibes viper visa vision visor vixen voter voting wafer wages waggle wagon walk walnut walrus
waltz wand wanted wasabi washer wasp wham wharf wheat whiny whoops wick widen widget widow width
wifi wilder willed wilt wimp wince winner wipe wiring wiry wisdom wish wobble wooing wool word
worst woven xerox yeah yield yippee yodel yoga yogurt yonder zebra zero zesty zips zombie zoning
zoom
`
  .trim()
  .split(/\s+/);
